"""relaxations of one's own structures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_KINDS = (
    "energy-forces, off-equilibrium, rattle-relax, substitution-relax, relax, physics, forgetting-holdout, "
    "equation-of-state"
)
_OLD_KINDS = (
    "energy-forces, off-equilibrium, rattle-relax, substitution-relax, physics, forgetting-holdout, equation-of-state"
)
_DISPLACEMENT = "from the target (or start): minimum image, drift removed, Å"
_OLD_DISPLACEMENT = "from the target: minimum image, drift removed, Å"


def upgrade() -> None:
    op.add_column(
        "relaxation",
        sa.Column(
            "forces_ev_per_ang",
            postgresql.ARRAY(sa.Double(), dimensions=2),
            nullable=True,
            comment="final forces, n_atoms x 3, eV/Å",
        ),
    )
    op.add_column(
        "relaxation",
        sa.Column(
            "trajectory_uri",
            sa.Text(),
            nullable=True,
            comment="extxyz with every state, named after its sha256, where it was asked for",
        ),
    )
    op.alter_column("relaxation", "displacement_rmsd_ang", comment=_DISPLACEMENT, existing_comment=_OLD_DISPLACEMENT)
    op.alter_column("benchmark", "kind", comment=_KINDS, existing_comment=_OLD_KINDS)


def downgrade() -> None:
    op.alter_column("benchmark", "kind", comment=_OLD_KINDS, existing_comment=_KINDS)
    op.alter_column("relaxation", "displacement_rmsd_ang", comment=_OLD_DISPLACEMENT, existing_comment=_DISPLACEMENT)
    op.drop_column("relaxation", "trajectory_uri")
    op.drop_column("relaxation", "forces_ev_per_ang")
