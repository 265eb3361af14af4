"""large databases: aggregates that stand in tables, indexes of the search, a view of every structure."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_INDEXES = {
    "ix_structure_energy_ev_per_atom": "structure ((energy_ev / n_atoms))",
    "ix_structure_fmax_ev_per_ang": "structure (fmax_ev_per_ang)",
    "ix_structure_volume_per_atom_ang3": "structure (volume_per_atom_ang3)",
    "ix_structure_n_atoms": "structure (n_atoms)",
    "ix_descriptor_entropy_pooled_r": "descriptor (entropy_pooled_r)",
    "ix_descriptor_entropy_sublattice_r": "descriptor (entropy_sublattice_r)",
    "ix_descriptor_radius_mismatch_percent": "descriptor (radius_mismatch_percent)",
    "ix_prediction_worst": "prediction (evaluation_id, (failure is null), forces_rmse_ev_per_ang desc nulls last)",
}

# What stands in the tables now is counted as the code counts what comes.
_COUNT_ELEMENTS = """
    insert into dataset_element (dataset_id, split, element, n_structures, n_elements_mean)
    select dataset_id, split, element.symbol, count(*), avg(n_elements)
    from dataset_member
    join structure on structure.id = dataset_member.structure_id
    cross join lateral unnest(elements) as element (symbol)
    group by dataset_id, split, element.symbol
"""
_SUM_RELAXATIONS = """
    insert into relaxation_total (evaluation_id, n_structures, n_converged, n_failed, force_calls_median, force_calls,
        wall_s, displacement_rmsd_mean_ang, volume_change_mean_fraction)
    select evaluation_id, count(*), count(*) filter (where converged), count(*) filter (where energy_final_ev is null),
        percentile_cont(0.5) within group (order by force_calls) filter (where converged), sum(force_calls),
        sum(relaxation.wall_s), avg(displacement_rmsd_ang), avg(volume_change_fraction)
    from relaxation
    join evaluation on evaluation.id = evaluation_id and state = 'completed'
    group by evaluation_id
"""

# As the files of db/views were then: what a migration does never changes.
_VIEWS: dict[str, str] = {}
_VIEWS["any_structure"] = """\
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
"""
_VIEWS["dataset_composition"] = """\
create view dataset_composition as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset_element.split,
    dataset_element.element,
    dataset_element.n_structures,
    dataset_element.n_structures::double precision / oxygen.n_structures as share_of_oxides,
    dataset_element.n_elements_mean
from dataset
join dataset_element on dataset_element.dataset_id = dataset.id
left join dataset_element as oxygen
    on oxygen.dataset_id = dataset.id and oxygen.split = dataset_element.split and oxygen.element = 'O';

comment on view dataset_composition is 'how often each element occurs in each split of a dataset';
comment on column dataset_composition.dataset is 'NAME@VERSION';
comment on column dataset_composition.split is 'train, validation, test, off_equilibrium or generated';
comment on column dataset_composition.element is 'symbol';
comment on column dataset_composition.n_structures is 'structures of the split that hold it';
comment on column dataset_composition.share_of_oxides is 'of the structures of the split that hold oxygen; null where none does';
comment on column dataset_composition.n_elements_mean is 'mean number of elements of the structures that hold it';
"""
_VIEWS["relaxation_summary"] = """\
create view relaxation_summary as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.device,
    relaxation_total.n_structures,
    relaxation_total.n_converged,
    relaxation_total.n_converged::double precision / relaxation_total.n_structures as convergence_rate,
    relaxation_total.n_failed,
    relaxation_total.force_calls_median,
    relaxation_total.force_calls,
    relaxation_total.wall_s,
    relaxation_total.displacement_rmsd_mean_ang,
    relaxation_total.volume_change_mean_fraction
from evaluation
join relaxation_total on relaxation_total.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view relaxation_summary is 'how many structures each model relaxed on each benchmark, in how many force calls and seconds';
comment on column relaxation_summary.model is 'NAME@VERSION';
comment on column relaxation_summary.benchmark is 'NAME@VERSION';
comment on column relaxation_summary.kind is 'rattle-relax, substitution-relax or relax';
comment on column relaxation_summary.device is 'cpu or cuda';
comment on column relaxation_summary.n_structures is 'structures relaxed';
comment on column relaxation_summary.n_converged is 'whose final state is below fmax';
comment on column relaxation_summary.convergence_rate is 'n_converged over n_structures';
comment on column relaxation_summary.n_failed is 'without a final state';
comment on column relaxation_summary.force_calls_median is 'over the converged';
comment on column relaxation_summary.force_calls is 'all together';
comment on column relaxation_summary.wall_s is 'seconds, all together';
comment on column relaxation_summary.displacement_rmsd_mean_ang is 'from the target, Å, over those that have one and a final state';
comment on column relaxation_summary.volume_change_mean_fraction is 'final over target or start volume, minus one';
"""
_VIEWS["worst_structures"] = """\
create view worst_structures as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    prediction.rank,
    structure.immutable_id,
    structure.formula_reduced,
    structure.n_atoms,
    prediction.forces_rmse_ev_per_ang,
    prediction.energy_error_ev_per_atom,
    structure.fmax_ev_per_ang,
    prediction.failure,
    structure.id as structure_id
from evaluation
-- For one evaluation at a time: with "rank <= 10" this ends after ten entries of ix_prediction_worst.
cross join lateral (
    select
        row_number() over (
            order by one.failure is null, one.forces_rmse_ev_per_ang desc nulls last
        ) as rank,
        one.structure_id,
        one.forces_rmse_ev_per_ang,
        one.energy_error_ev_per_atom,
        one.failure
    from prediction as one
    where one.evaluation_id = evaluation.id
) as prediction
join structure on structure.id = prediction.structure_id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view worst_structures is 'the structures of each evaluation in the order of their force error, the worst first; failures before all';
comment on column worst_structures.model is 'NAME@VERSION';
comment on column worst_structures.benchmark is 'NAME@VERSION';
comment on column worst_structures.rank is '1 is the worst';
comment on column worst_structures.immutable_id is 'id of the structure in its source';
comment on column worst_structures.formula_reduced is 'smallest whole-number formula';
comment on column worst_structures.n_atoms is 'atoms in the cell';
comment on column worst_structures.forces_rmse_ev_per_ang is 'over this structure''s components, eV/Å';
comment on column worst_structures.energy_error_ev_per_atom is 'predicted minus reference, eV/atom';
comment on column worst_structures.fmax_ev_per_ang is 'length of the largest reference force, eV/Å';
comment on column worst_structures.failure is 'why there is no number';
comment on column worst_structures.structure_id is 'structure.id';
"""

_OLD_VIEWS: dict[str, str] = {}
_OLD_VIEWS["dataset_composition"] = """\
create view dataset_composition as
select
    dataset.name || '@' || dataset.version as dataset,
    dataset_member.split,
    element.symbol as element,
    count(*) as n_structures,
    count(*)::double precision / sum(count(*)) filter (where element.symbol = 'O') over (
        partition by dataset.id, dataset_member.split
    ) as share_of_oxides,
    avg(structure.n_elements)::double precision as n_elements_mean
from dataset
join dataset_member on dataset_member.dataset_id = dataset.id
join structure on structure.id = dataset_member.structure_id
cross join lateral unnest(structure.elements) as element (symbol)
group by dataset.id, dataset.name, dataset.version, dataset_member.split, element.symbol;

comment on view dataset_composition is 'how often each element occurs in each split of a dataset';
comment on column dataset_composition.dataset is 'NAME@VERSION';
comment on column dataset_composition.split is 'train, validation, test, off_equilibrium or generated';
comment on column dataset_composition.element is 'symbol';
comment on column dataset_composition.n_structures is 'structures of the split that hold it';
comment on column dataset_composition.share_of_oxides is 'of the structures of the split that hold oxygen; null where none does';
comment on column dataset_composition.n_elements_mean is 'mean number of elements of the structures that hold it';
"""
_OLD_VIEWS["relaxation_summary"] = """\
create view relaxation_summary as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    benchmark.kind,
    evaluation.device,
    count(*) as n_structures,
    count(*) filter (where relaxation.converged) as n_converged,
    avg(relaxation.converged::integer)::double precision as convergence_rate,
    count(*) filter (where relaxation.energy_final_ev is null) as n_failed,
    percentile_cont(0.5) within group (order by relaxation.force_calls)
        filter (where relaxation.converged) as force_calls_median,
    sum(relaxation.force_calls) as force_calls,
    sum(relaxation.wall_s) as wall_s,
    avg(relaxation.displacement_rmsd_ang) as displacement_rmsd_mean_ang,
    avg(relaxation.volume_change_fraction) as volume_change_mean_fraction
from evaluation
join relaxation on relaxation.evaluation_id = evaluation.id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed'
group by evaluation.id, model_version.name, model_version.version, benchmark.name, benchmark.version, benchmark.kind;

comment on view relaxation_summary is 'how many structures each model relaxed on each benchmark, in how many force calls and seconds';
comment on column relaxation_summary.model is 'NAME@VERSION';
comment on column relaxation_summary.benchmark is 'NAME@VERSION';
comment on column relaxation_summary.kind is 'rattle-relax, substitution-relax or relax';
comment on column relaxation_summary.device is 'cpu or cuda';
comment on column relaxation_summary.n_structures is 'structures relaxed';
comment on column relaxation_summary.n_converged is 'whose final state is below fmax';
comment on column relaxation_summary.convergence_rate is 'n_converged over n_structures';
comment on column relaxation_summary.n_failed is 'without a final state';
comment on column relaxation_summary.force_calls_median is 'over the converged';
comment on column relaxation_summary.force_calls is 'all together';
comment on column relaxation_summary.wall_s is 'seconds, all together';
comment on column relaxation_summary.displacement_rmsd_mean_ang is 'from the target, Å, over those that have one and a final state';
comment on column relaxation_summary.volume_change_mean_fraction is 'final over target or start volume, minus one';
"""
_OLD_VIEWS["worst_structures"] = """\
create view worst_structures as
select
    model_version.name || '@' || model_version.version as model,
    benchmark.name || '@' || benchmark.version as benchmark,
    row_number() over (
        partition by evaluation.id
        order by prediction.failure is null, prediction.forces_rmse_ev_per_ang desc nulls last
    ) as rank,
    structure.immutable_id,
    structure.formula_reduced,
    structure.n_atoms,
    prediction.forces_rmse_ev_per_ang,
    prediction.energy_error_ev_per_atom,
    structure.fmax_ev_per_ang,
    prediction.failure,
    structure.id as structure_id
from evaluation
join prediction on prediction.evaluation_id = evaluation.id
join structure on structure.id = prediction.structure_id
join model_version on model_version.id = evaluation.model_version_id
join benchmark on benchmark.id = evaluation.benchmark_id
where evaluation.state = 'completed';

comment on view worst_structures is 'the structures of each evaluation in the order of their force error, the worst first; failures before all';
comment on column worst_structures.model is 'NAME@VERSION';
comment on column worst_structures.benchmark is 'NAME@VERSION';
comment on column worst_structures.rank is '1 is the worst';
comment on column worst_structures.immutable_id is 'id of the structure in its source';
comment on column worst_structures.formula_reduced is 'smallest whole-number formula';
comment on column worst_structures.n_atoms is 'atoms in the cell';
comment on column worst_structures.forces_rmse_ev_per_ang is 'over this structure''s components, eV/Å';
comment on column worst_structures.energy_error_ev_per_atom is 'predicted minus reference, eV/atom';
comment on column worst_structures.fmax_ev_per_ang is 'length of the largest reference force, eV/Å';
comment on column worst_structures.failure is 'why there is no number';
comment on column worst_structures.structure_id is 'structure.id';
"""


def upgrade() -> None:
    op.create_table(
        "dataset_element",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False, comment="dataset_member.split"),
        sa.Column("element", sa.Text(), nullable=False, comment="symbol"),
        sa.Column("n_structures", sa.BigInteger(), nullable=False, comment="structures of the split that hold it"),
        sa.Column(
            "n_elements_mean", sa.Double(), nullable=False, comment="mean number of elements of these structures"
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name="fk_dataset_element_dataset_id_dataset", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset_id", "split", "element", name="pk_dataset_element"),
        comment="elements of each split of a dataset, counted when its members are stored",
    )
    op.create_table(
        "relaxation_total",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("n_structures", sa.BigInteger(), nullable=False, comment="structures relaxed"),
        sa.Column("n_converged", sa.BigInteger(), nullable=False, comment="whose final state is below fmax"),
        sa.Column("n_failed", sa.BigInteger(), nullable=False, comment="without a final state"),
        sa.Column("force_calls_median", sa.Double(), nullable=True, comment="over the converged; null where none did"),
        sa.Column("force_calls", sa.BigInteger(), nullable=False, comment="all together"),
        sa.Column("wall_s", sa.Double(), nullable=False, comment="seconds, all together"),
        sa.Column(
            "displacement_rmsd_mean_ang",
            sa.Double(),
            nullable=True,
            comment="from the target, Å, over those that have one and a final state",
        ),
        sa.Column(
            "volume_change_mean_fraction",
            sa.Double(),
            nullable=True,
            comment="final over target or start volume, minus one",
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name="fk_relaxation_total_evaluation_id_evaluation", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", name="pk_relaxation_total"),
        comment="relaxations of an evaluation, counted and summed when it is completed",
    )
    op.execute(_COUNT_ELEMENTS)
    op.execute(_SUM_RELAXATIONS)
    for name, columns in _INDEXES.items():
        op.execute(f"create index {name} on {columns}")
    _replace_views(_OLD_VIEWS, _VIEWS)


def _replace_views(old: dict[str, str], new: dict[str, str]) -> None:
    for name in old:
        op.execute(f"drop view {name}")
    for statement in new.values():
        op.execute(statement)
    op.execute(
        "do $$ begin if exists (select from pg_roles where rolname = 'heo_reader') then "
        f"grant select on {', '.join(new)} to heo_reader; end if; end $$"
    )


def downgrade() -> None:
    _replace_views(_VIEWS, _OLD_VIEWS)
    for name in _INDEXES:
        op.drop_index(name)
    op.drop_table("relaxation_total")
    op.drop_table("dataset_element")
