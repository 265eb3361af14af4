"""labels of relaxed cells: which model relaxed to which structure outlasts its evaluation; the cell's whole moment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# As the files of db/views were then: what a migration does never changes.
_VIEW = """\
create view label_minimum as
select
    label_set.name as label_set,
    benchmark.name || '@' || benchmark.version as benchmark,
    relaxed_label.case_index,
    structure.formula_reduced,
    structure.n_atoms,
    model_version.name || '@' || model_version.version as model,
    structure.energy_ev / structure.n_atoms as energy_ev_per_atom,
    (structure.energy_ev - min(structure.energy_ev) over of_case) / structure.n_atoms as above_lowest_ev_per_atom,
    count(*) over of_case as n_models,
    structure.fmax_ev_per_ang
from relaxed_label
join structure_label
    on structure_label.label_set_id = relaxed_label.label_set_id
    and structure_label.structure_id = relaxed_label.structure_id
join structure on structure.id = structure_label.labelled_id
join label_set on label_set.id = relaxed_label.label_set_id
join benchmark on benchmark.id = relaxed_label.benchmark_id
join model_version on model_version.id = relaxed_label.model_version_id
where relaxed_label.converged
window of_case as (partition by label_set.id, benchmark.id, relaxed_label.case_index);

comment on view label_minimum is 'relaxed cells of several models from the same start, and their energies on the scale of one label set: which model found the lower minimum; without relaxations and calculations that did not converge';
comment on column label_minimum.label_set is 'name of the label set: one scale of energies';
comment on column label_minimum.benchmark is 'NAME@VERSION of the benchmark that the models relaxed';
comment on column label_minimum.case_index is 'benchmark_case.case_index';
comment on column label_minimum.formula_reduced is 'smallest whole-number formula';
comment on column label_minimum.n_atoms is 'atoms in the cell';
comment on column label_minimum.model is 'NAME@VERSION of the model that relaxed it';
comment on column label_minimum.energy_ev_per_atom is 'of the final state by the label set, eV/atom; only differences mean something';
comment on column label_minimum.above_lowest_ev_per_atom is 'above the lowest of the models that are labelled for this start, eV/atom; 0 is the winner';
comment on column label_minimum.n_models is 'models that are labelled for this start';
comment on column label_minimum.fmax_ev_per_ang is 'largest force by the label set on what the model calls relaxed, eV/Å';
"""
_OLD_VIEW = """\
create view label_minimum as
select
    label_set.name as label_set,
    benchmark.name || '@' || benchmark.version as benchmark,
    structure_label.case_index,
    structure.formula_reduced,
    structure.n_atoms,
    model_version.name || '@' || model_version.version as model,
    structure.energy_ev / structure.n_atoms as energy_ev_per_atom,
    (structure.energy_ev - min(structure.energy_ev) over of_case) / structure.n_atoms as above_lowest_ev_per_atom,
    count(*) over of_case as n_models,
    structure.fmax_ev_per_ang
from structure_label
join label_set on label_set.id = structure_label.label_set_id
join structure on structure.id = structure_label.labelled_id
join evaluation on evaluation.id = structure_label.evaluation_id
join benchmark on benchmark.id = evaluation.benchmark_id
join model_version on model_version.id = evaluation.model_version_id
window of_case as (partition by label_set.id, benchmark.id, structure_label.case_index);

comment on view label_minimum is 'relaxed cells of several models from the same start, and their energies on the scale of one label set: which model found the lower minimum';
comment on column label_minimum.label_set is 'name of the label set: one scale of energies';
comment on column label_minimum.benchmark is 'NAME@VERSION of the benchmark that the models relaxed';
comment on column label_minimum.case_index is 'benchmark_case.case_index';
comment on column label_minimum.formula_reduced is 'smallest whole-number formula';
comment on column label_minimum.n_atoms is 'atoms in the cell';
comment on column label_minimum.model is 'NAME@VERSION of the model that relaxed it';
comment on column label_minimum.energy_ev_per_atom is 'of the final state by the label set, eV/atom; only differences mean something';
comment on column label_minimum.above_lowest_ev_per_atom is 'above the lowest of the models that are labelled for this start, eV/atom; 0 is the winner';
comment on column label_minimum.n_models is 'models that are labelled for this start';
comment on column label_minimum.fmax_ev_per_ang is 'largest force by the label set on what the model calls relaxed, eV/Å';
"""
_GRANT = (
    "do $$ begin if exists (select from pg_roles where rolname = 'heo_reader') then "
    "grant select on label_minimum to heo_reader; end if; end $$"
)


def upgrade() -> None:
    op.execute("drop view label_minimum")
    op.create_table(
        "relaxed_label",
        sa.Column("label_set_id", sa.BigInteger(), nullable=False),
        sa.Column("benchmark_id", sa.BigInteger(), nullable=False),
        sa.Column("case_index", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "structure_id",
            sa.BigInteger(),
            nullable=False,
            comment="the geometry that it relaxed to, without labels",
        ),
        sa.Column("converged", sa.Boolean(), nullable=False, comment="relaxation.converged"),
        sa.ForeignKeyConstraint(
            ["benchmark_id", "case_index"],
            ["benchmark_case.benchmark_id", "benchmark_case.case_index"],
            name=op.f("fk_relaxed_label_benchmark_id_case_index_benchmark_case"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["label_set_id"],
            ["label_set.id"],
            name=op.f("fk_relaxed_label_label_set_id_label_set"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_version.id"],
            name=op.f("fk_relaxed_label_model_version_id_model_version"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_relaxed_label_structure_id_structure")
        ),
        sa.PrimaryKeyConstraint(
            "label_set_id", "benchmark_id", "case_index", "model_version_id", name=op.f("pk_relaxed_label")
        ),
        comment="structures that models relaxed to and that were given to a label set: the newest of each case",
    )
    op.create_index(op.f("ix_relaxed_label_structure_id"), "relaxed_label", ["structure_id"])
    op.execute("""
        insert into relaxed_label
        select distinct on (label_set_id, benchmark_id, structure_label.case_index, model_version_id)
            label_set_id, benchmark_id, structure_label.case_index, model_version_id, structure_id, converged
        from structure_label
        join evaluation on evaluation.id = structure_label.evaluation_id
        join relaxation on relaxation.evaluation_id = evaluation.id
            and relaxation.case_index = structure_label.case_index
        order by 1, 2, 3, 4, structure_label.created_at desc
    """)
    op.drop_column("structure_label", "evaluation_id")
    op.drop_column("structure_label", "case_index")
    op.alter_column(
        "structure_label",
        "moments_mub",
        comment="magnetic moment near each atom, μB",
        existing_comment="magnetic moment of each atom, μB",
    )
    op.add_column(
        "structure_label",
        sa.Column(
            "total_moment_mub",
            sa.Double(),
            nullable=True,
            comment="magnetic moment of the whole cell, μB; null where nobody said, and for labels of before it was kept",
        ),
    )
    op.execute(_VIEW)
    op.execute(_GRANT)


def downgrade() -> None:
    op.execute("drop view label_minimum")
    op.drop_column("structure_label", "total_moment_mub")
    op.alter_column(
        "structure_label",
        "moments_mub",
        comment="magnetic moment of each atom, μB",
        existing_comment="magnetic moment near each atom, μB",
    )
    op.add_column(
        "structure_label",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=True, comment="evaluation that relaxed it, where one did"),
    )
    op.add_column(
        "structure_label",
        sa.Column("case_index", sa.Integer(), nullable=True, comment="relaxation.case_index in it"),
    )
    op.create_foreign_key(
        op.f("fk_structure_label_evaluation_id_evaluation"),
        "structure_label",
        "evaluation",
        ["evaluation_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(op.f("ix_structure_label_evaluation_id"), "structure_label", ["evaluation_id"])
    op.execute("""
        update structure_label set evaluation_id = evaluation.id, case_index = relaxed_label.case_index
        from relaxed_label join evaluation using (benchmark_id, model_version_id)
        where relaxed_label.label_set_id = structure_label.label_set_id
            and relaxed_label.structure_id = structure_label.structure_id and evaluation.replaces_id is null
    """)
    op.drop_table("relaxed_label")
    op.execute(_OLD_VIEW)
    op.execute(_GRANT)
