"""A training run keeps the structures that its E0s were not fitted to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "training_run",
        sa.Column(
            "e0_outliers",
            postgresql.JSONB(),
            nullable=True,
            comment="structures trained on whose energies no E0s explain, perhaps of another calculation: the "
            "foundation's error after the fit, eV/atom, by immutable_id; null where E0s were not estimated",
        ),
    )


def downgrade() -> None:
    op.drop_column("training_run", "e0_outliers")
