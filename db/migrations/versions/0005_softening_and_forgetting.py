"""softening and forgetting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KINDS = "energy-forces, off-equilibrium, rattle-relax, substitution-relax, forgetting-holdout, equation-of-state"
_OLD_KINDS = "energy-forces, rattle-relax or substitution-relax"
_PARAMS = "EnergyForcesParams or what else the kind takes"
_OLD_PARAMS = "EnergyForcesParams, RattleRelaxParams or SubstitutionRelaxParams"
_PREDICTION = "energies and forces of a model on the structures of a benchmark that relaxes none"
_OLD_PREDICTION = "energies and forces of a model on the structures of an energy-forces benchmark"
_LEADERBOARD_KIND = "what is measured; docs/metrics.md has a part for each kind"


def upgrade() -> None:
    op.add_column(
        "prediction",
        sa.Column(
            "stress_ev_per_ang3",
            postgresql.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="predicted stress, 3 x 3, eV/Å³, ASE's sign",
        ),
    )
    op.add_column(
        "prediction",
        sa.Column(
            "stress_rmse_ev_per_ang3",
            sa.Double(),
            nullable=True,
            comment="over the six components; null where the stress of the labels is not trusted",
        ),
    )
    op.create_table(
        "volume_curve",
        sa.Column("evaluation_id", sa.BigInteger(), nullable=False),
        sa.Column("material", sa.Text(), nullable=False, comment="formula and prototype"),
        sa.Column("n_volumes", sa.Integer(), nullable=False, comment="volumes that the curve is known at"),
        sa.Column(
            "reference_volume_ang3_per_atom", sa.Double(), nullable=True, comment="equilibrium volume of the reference"
        ),
        sa.Column(
            "reference_bulk_modulus_gpa", sa.Double(), nullable=True, comment="bulk modulus of the reference, GPa"
        ),
        sa.Column(
            "equilibrium_volume_ang3_per_atom",
            sa.Double(),
            nullable=True,
            comment="minimum of the fitted Birch-Murnaghan equation of state",
        ),
        sa.Column("bulk_modulus_gpa", sa.Double(), nullable=True, comment="at that minimum, GPa"),
        sa.Column(
            "equilibrium_volume_error_fraction",
            sa.Double(),
            nullable=True,
            comment="predicted over reference minus 1",
        ),
        sa.Column(
            "bulk_modulus_error_fraction", sa.Double(), nullable=True, comment="predicted over reference minus 1"
        ),
        sa.Column(
            "energy_volume_rmse_ev_per_atom",
            sa.Double(),
            nullable=True,
            comment="between the two curves, each from its value at the reference's relaxed volume",
        ),
        sa.Column("failure", sa.Text(), nullable=True, comment="why there is no minimum or no energy"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_volume_curve_evaluation_id_evaluation"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "material", name=op.f("pk_volume_curve")),
        comment="equations of state of an equation-of-state benchmark, the model's beside the reference's",
    )
    op.alter_column("benchmark", "kind", comment=_KINDS, existing_comment=_OLD_KINDS)
    op.alter_column("benchmark", "params", comment=_PARAMS, existing_comment=_OLD_PARAMS)
    op.create_table_comment("prediction", _PREDICTION, existing_comment=_OLD_PREDICTION)
    op.execute(f"comment on column leaderboard.kind is '{_LEADERBOARD_KIND}'")


def downgrade() -> None:
    op.execute(f"comment on column leaderboard.kind is '{_OLD_KINDS}'")
    op.create_table_comment("prediction", _OLD_PREDICTION, existing_comment=_PREDICTION)
    op.alter_column("benchmark", "params", comment=_OLD_PARAMS, existing_comment=_PARAMS)
    op.alter_column("benchmark", "kind", comment=_OLD_KINDS, existing_comment=_KINDS)
    op.drop_table("volume_curve")
    op.drop_column("prediction", "stress_rmse_ev_per_ang3")
    op.drop_column("prediction", "stress_ev_per_ang3")
