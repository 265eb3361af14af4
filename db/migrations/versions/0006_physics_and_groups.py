"""physics benchmark, errors by group, evaluations run again, symmetry kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KINDS = (
    "energy-forces, off-equilibrium, rattle-relax, substitution-relax, physics, forgetting-holdout, equation-of-state"
)
_OLD_KINDS = "energy-forces, off-equilibrium, rattle-relax, substitution-relax, forgetting-holdout, equation-of-state"
_NAMES = "KIND, KIND:DATASET for one on a dataset's split, or the name that its user gave it"
_OLD_NAMES = "KIND, or KIND:DATASET for one on a dataset's split"
_ONCE = "uq_evaluation_model_version_id_benchmark_id"


def upgrade() -> None:
    op.create_table(
        "group_metric",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "grouping",
            sa.Text(),
            nullable=False,
            comment="element: energies of structures with it, forces on its atoms; source; n_elements",
        ),
        sa.Column("group_name", sa.Text(), nullable=False, comment="for example Co, mp or 5"),
        sa.Column("name", sa.Text(), nullable=False, comment="metric.name"),
        sa.Column("value", sa.Double(), nullable=True, comment="null where there is nothing to average"),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="structures behind the number"),
        sa.CheckConstraint(
            "grouping in ('element', 'source', 'n_elements')", name=op.f("ck_group_metric_grouping")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_group_metric_evaluation_id_evaluation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "grouping", "group_name", "name", name=op.f("pk_group_metric")),
        comment="errors of an evaluation by element, source and number of elements",
    )
    op.create_table(
        "physics_check",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="forces, stress, energy-drift, volume-curve or repulsion"
        ),
        sa.Column("subject", sa.Text(), nullable=False, comment="cell, oxide or pair"),
        sa.Column("name", sa.Text(), nullable=False, comment="what was measured, defined in docs/metrics.md"),
        sa.Column("value", sa.Double(), nullable=True, comment="null where failure says why"),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True, comment="why there is no number"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_physics_check_evaluation_id_evaluation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "kind", "subject", "name", name=op.f("pk_physics_check")),
        comment="what a physics benchmark found, one row a number; what failed says why",
    )
    op.add_column(
        "evaluation",
        sa.Column(
            "replaces_id",
            sa.BigInteger(),
            nullable=True,
            comment="completed evaluation that is being run again; this one takes its place when it is complete",
        ),
    )
    op.create_foreign_key(
        op.f("fk_evaluation_replaces_id_evaluation"), "evaluation", "evaluation", ["replaces_id"], ["id"], ondelete="SET NULL"
    )
    op.create_unique_constraint(op.f("uq_evaluation_replaces_id"), "evaluation", ["replaces_id"])
    op.drop_constraint(_ONCE, "evaluation", type_="unique")
    op.create_index(
        _ONCE,
        "evaluation",
        ["model_version_id", "benchmark_id"],
        unique=True,
        postgresql_where=sa.text("replaces_id is null"),
    )
    op.add_column(
        "evaluation",
        sa.Column(
            "dtype", sa.Text(), nullable=True, comment="precision that the model computed in: float32 or float64"
        ),
    )
    op.add_column(
        "evaluation",
        sa.Column(
            "cautions",
            postgresql.ARRAY(sa.Text()),
            server_default="{}",
            nullable=False,
            comment="what must be known before its numbers are read, in sentences",
        ),
    )
    op.add_column(
        "comparison",
        sa.Column(
            "caution", sa.Text(), nullable=True, comment="why the difference says nothing: energies on two scales"
        ),
    )
    op.add_column(
        "relaxation",
        sa.Column(
            "rmsd_normalized",
            sa.Double(),
            nullable=True,
            comment="of pymatgen's StructureMatcher against the target, over (V/n_atoms)^(1/3); 1 where it finds no match",
        ),
    )
    for digits in ("2", "5"):
        op.add_column(
            "relaxation",
            sa.Column(
                f"symmetry_kept_1e{digits}",
                sa.Boolean(),
                nullable=True,
                comment=f"space group of the target at symprec 1e-{digits} Å; null where the target has no symmetry",
            ),
        )
    op.alter_column("benchmark", "kind", comment=_KINDS, existing_comment=_OLD_KINDS)
    op.alter_column("benchmark", "name", comment=_NAMES, existing_comment=_OLD_NAMES)


def downgrade() -> None:
    op.alter_column("benchmark", "name", comment=_OLD_NAMES, existing_comment=_NAMES)
    op.alter_column("benchmark", "kind", comment=_OLD_KINDS, existing_comment=_KINDS)
    op.drop_column("relaxation", "symmetry_kept_1e5")
    op.drop_column("relaxation", "symmetry_kept_1e2")
    op.drop_column("relaxation", "rmsd_normalized")
    op.drop_column("comparison", "caution")
    op.drop_column("evaluation", "cautions")
    op.drop_column("evaluation", "dtype")
    # Two rows of one pair would break the old constraint: what has not taken its place yet goes.
    op.execute("delete from evaluation where replaces_id is not null")
    op.drop_index(_ONCE, table_name="evaluation")
    op.create_unique_constraint(_ONCE, "evaluation", ["model_version_id", "benchmark_id"])
    op.drop_constraint(op.f("uq_evaluation_replaces_id"), "evaluation", type_="unique")
    op.drop_constraint(op.f("fk_evaluation_replaces_id_evaluation"), "evaluation", type_="foreignkey")
    op.drop_column("evaluation", "replaces_id")
    op.drop_table("physics_check")
    op.drop_table("group_metric")
