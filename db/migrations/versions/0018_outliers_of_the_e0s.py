"""A training run keeps the structures that its E0s were not fitted to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


_REPLAY = "what was replayed: structures, labels, n_cells, row_copies and more; null where nothing was"
_OLD_REPLAY = "what was replayed: source, labels and n_cells; null where nothing was"


def upgrade() -> None:
    op.add_column(
        "training_run",
        sa.Column(
            "e0_outliers",
            postgresql.JSONB(),
            nullable=True,
            comment="structures trained on that the E0s were not fitted to, perhaps labelled by another calculation: "
            "energy predicted with the fitted E0s less reference, eV/atom by immutable_id; null where E0s were not "
            "estimated",
        ),
    )
    op.alter_column("training_run", "replay", comment=_REPLAY, existing_comment=_OLD_REPLAY)


def downgrade() -> None:
    op.alter_column("training_run", "replay", comment=_OLD_REPLAY, existing_comment=_REPLAY)
    op.drop_column("training_run", "e0_outliers")
