"""label sets: reference labels on one scale, one row a structure."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# As the file of db/views was then: what a migration does never changes.
_VIEW = """\
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


def upgrade() -> None:
    json, text = postgresql.JSONB(astext_type=sa.Text()), sa.Text()
    op.create_table(
        "label_set",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("name", text, nullable=False, comment="name given by the user"),
        sa.Column("engine", text, nullable=False, comment="gpaw, vasp, or potential"),
        sa.Column("functional", text, nullable=False, comment="what structure.functional of its labels says"),
        sa.Column("settings", json, nullable=False, comment="all that energies depend on but the structure"),
        sa.Column("settings_hash", text, nullable=False, comment="sha256 of settings: labels with another are refused"),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_set")),
        sa.UniqueConstraint("name", name=op.f("uq_label_set_name")),
        comment="named sets of reference labels: one engine, one set of settings, one scale of energies",
    )
    op.create_table(
        "structure_label",
        sa.Column("label_set_id", sa.BigInteger(), nullable=False),
        sa.Column("structure_id", sa.BigInteger(), nullable=False, comment="the geometry, without labels"),
        sa.Column(
            "labelled_id",
            sa.BigInteger(),
            nullable=True,
            comment="the same with energy, forces and stress; null where failure says why",
        ),
        sa.Column("failure", text, nullable=True, comment="why there are no labels"),
        sa.Column("evaluation_id", sa.BigInteger(), nullable=True, comment="evaluation that relaxed it, where one did"),
        sa.Column("case_index", sa.Integer(), nullable=True, comment="relaxation.case_index in it"),
        sa.Column("moments_mub", sa.ARRAY(sa.Double()), nullable=True, comment="magnetic moment of each atom, μB"),
        sa.Column("magnetic_start", text, nullable=True, comment="order of the moments that led to the lowest energy"),
        sa.Column("starts", json, nullable=False, comment="energy (eV) or failure of each magnetic start"),
        sa.Column("versions", json, nullable=False, comment="of the programs that computed it"),
        sa.Column("wall_s", sa.Double(), nullable=True, comment="seconds; null for a run that was imported"),
        sa.Column("flow_run_id", text, nullable=True, comment="Prefect flow run that did it"),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["label_set_id"],
            ["label_set.id"],
            name=op.f("fk_structure_label_label_set_id_label_set"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["structure_id"], ["structure.id"], name=op.f("fk_structure_label_structure_id_structure")
        ),
        sa.ForeignKeyConstraint(
            ["labelled_id"], ["structure.id"], name=op.f("fk_structure_label_labelled_id_structure")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["evaluation.id"],
            name=op.f("fk_structure_label_evaluation_id_evaluation"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("label_set_id", "structure_id", name=op.f("pk_structure_label")),
        comment="structures that were labelled, failed ones too, each written when it was done",
    )
    for column in ("structure_id", "labelled_id", "evaluation_id"):
        op.create_index(op.f(f"ix_structure_label_{column}"), "structure_label", [column])
    op.execute(_VIEW)
    op.execute(
        "do $$ begin if exists (select from pg_roles where rolname = 'heo_reader') then "
        "grant select on label_minimum to heo_reader; end if; end $$"
    )


def downgrade() -> None:
    op.execute("drop view label_minimum")
    op.drop_table("structure_label")
    op.drop_table("label_set")


def _created_at() -> sa.Column[datetime]:
    return sa.Column(
        "created_at",
        sa.DateTime(timezone=True),
        server_default=sa.text("now()"),
        nullable=False,
        comment="when the row was written",
    )
