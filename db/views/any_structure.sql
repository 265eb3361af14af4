create view any_structure as
select
    structure.id as structure_id,
    structure.immutable_id,
    structure.source,
    structure.functional,
    structure.formula_reduced,
    structure.chemical_system,
    structure.elements,
    structure.n_elements,
    structure.n_atoms,
    structure.volume_per_atom_ang3,
    structure.energy_ev / structure.n_atoms as energy_ev_per_atom,
    structure.fmax_ev_per_ang,
    descriptor.n_cations,
    descriptor.cation_fractions,
    descriptor.entropy_pooled_r,
    descriptor.entropy_sublattice_r,
    descriptor.entropy_per_formula_r,
    descriptor.equimolarity_deviation,
    descriptor.radius_mismatch_percent,
    descriptor.electronegativity_spread,
    descriptor.space_group_number,
    descriptor.space_group_symbol,
    descriptor.prototype,
    descriptor.parent_space_group_number,
    array(
        select dataset.name || '@' || dataset.version
        from dataset_member
        join dataset on dataset.id = dataset_member.dataset_id
        where dataset_member.structure_id = structure.id
        order by dataset.id
    ) as datasets
from structure
left join descriptor on descriptor.structure_id = structure.id;

comment on view any_structure is 'every structure, once, whether or not it stands in a dataset, with its descriptors: what heo structures find searches';
comment on column any_structure.structure_id is 'structure.id';
comment on column any_structure.energy_ev_per_atom is 'reference energy per atom, eV, uncorrected';
comment on column any_structure.cation_fractions is 'share of each cation, for example cation_fractions ->> ''Co''';
comment on column any_structure.entropy_pooled_r is 'configurational entropy per cation, all pooled, in R';
comment on column any_structure.entropy_sublattice_r is 'the same per site of the most disordered cation sublattice, in R';
comment on column any_structure.prototype is 'parent crystal, where it is a known one';
comment on column any_structure.immutable_id is 'id in its source';
comment on column any_structure.source is 'mp, agm, oqmd, ...; generated for cells that were made here';
comment on column any_structure.functional is 'how the labels were made';
comment on column any_structure.formula_reduced is 'smallest whole-number formula';
comment on column any_structure.chemical_system is 'elements joined by hyphens';
comment on column any_structure.elements is 'different elements, alphabetical';
comment on column any_structure.n_elements is 'number of different elements';
comment on column any_structure.n_atoms is 'atoms in the cell';
comment on column any_structure.volume_per_atom_ang3 is 'Å³';
comment on column any_structure.fmax_ev_per_ang is 'length of the largest reference force, eV/Å';
comment on column any_structure.n_cations is 'different cations';
comment on column any_structure.entropy_per_formula_r is 'sum over cation sublattices, per formula unit of the parent crystal, in R';
comment on column any_structure.equimolarity_deviation is 'largest departure of a cation''s share from 1/n';
comment on column any_structure.radius_mismatch_percent is 'spread of Shannon''s radii, delta, %';
comment on column any_structure.electronegativity_spread is 'standard deviation, Pauling''s scale';
comment on column any_structure.space_group_number is 'of the cell as it is, symprec 0.01 Å';
comment on column any_structure.space_group_symbol is 'Hermann-Mauguin symbol';
comment on column any_structure.parent_space_group_number is 'of the cell with all cations made alike';
comment on column any_structure.datasets is 'NAME@VERSION of the datasets that it stands in, the oldest first';
