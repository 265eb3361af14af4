create view dataset_structure as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset_member.split,
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
    descriptor.parent_space_group_number
from dataset
join dataset_member on dataset_member.dataset_id = dataset.id
join structure on structure.id = dataset_member.structure_id
left join descriptor on descriptor.structure_id = structure.id;

comment on view dataset_structure is 'every structure of every dataset with its split and descriptors, one row a structure';
comment on column dataset_structure.dataset is 'NAME@VERSION';
comment on column dataset_structure.split is 'train, validation, test, off_equilibrium or generated';
comment on column dataset_structure.energy_ev_per_atom is 'reference energy per atom, eV, uncorrected';
comment on column dataset_structure.cation_fractions is 'share of each cation, for example cation_fractions ->> ''Co''';
comment on column dataset_structure.entropy_pooled_r is 'configurational entropy per cation, all pooled, in R';
comment on column dataset_structure.entropy_sublattice_r is 'the same per site of the most disordered cation sublattice, in R';
comment on column dataset_structure.prototype is 'parent crystal, where it is a known one';
comment on column dataset_structure.structure_id is 'structure.id';
comment on column dataset_structure.immutable_id is 'id in its source';
comment on column dataset_structure.source is 'mp, agm, oqmd, ...; generated for cells that were made here';
comment on column dataset_structure.functional is 'how the labels were made';
comment on column dataset_structure.formula_reduced is 'smallest whole-number formula';
comment on column dataset_structure.chemical_system is 'elements joined by hyphens';
comment on column dataset_structure.elements is 'different elements, alphabetical';
comment on column dataset_structure.n_elements is 'number of different elements';
comment on column dataset_structure.n_atoms is 'atoms in the cell';
comment on column dataset_structure.volume_per_atom_ang3 is 'Å³';
comment on column dataset_structure.fmax_ev_per_ang is 'length of the largest reference force, eV/Å';
comment on column dataset_structure.n_cations is 'different cations';
comment on column dataset_structure.entropy_per_formula_r is 'sum over cation sublattices, per formula unit of the parent crystal, in R';
comment on column dataset_structure.equimolarity_deviation is 'largest departure of a cation''s share from 1/n';
comment on column dataset_structure.radius_mismatch_percent is 'spread of Shannon''s radii, delta, %';
comment on column dataset_structure.electronegativity_spread is 'standard deviation, Pauling''s scale';
comment on column dataset_structure.space_group_number is 'of the cell as it is, symprec 0.01 Å';
comment on column dataset_structure.space_group_symbol is 'Hermann-Mauguin symbol';
comment on column dataset_structure.parent_space_group_number is 'of the cell with all cations made alike';
