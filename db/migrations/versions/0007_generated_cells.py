"""generated cells are a split of a dataset."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SPLITS = "split in ('train', 'validation', 'test', 'off_equilibrium', 'generated')"
_OLD_SPLITS = "split in ('train', 'validation', 'test', 'off_equilibrium')"

# table, column, type, nullable, new comment, old comment
_COMMENTS = (
    (
        "dataset",
        "params",
        postgresql.JSONB(astext_type=sa.Text()),
        False,
        "CurationParams, or GenerationParams where the structures were generated",
        "CurationParams",
    ),
    ("dataset", "n_scanned", sa.BigInteger(), False, "rows read, or cells that were to be generated", "rows read"),
    (
        "dataset",
        "n_kept",
        sa.BigInteger(),
        False,
        "rows kept, or cells that passed every check",
        "rows kept",
    ),
    (
        "dataset_member",
        "split",
        sa.Text(),
        False,
        "train, validation, test; without labels: off_equilibrium (copies), generated",
        "train, validation, test, or off_equilibrium: copies without labels",
    ),
    (
        "dataset_member",
        "recipe",
        postgresql.JSONB(astext_type=sa.Text()),
        True,
        "how a copy or generated cell was made, seed included",
        "how such a copy was made, seed included",
    ),
    (
        "structure",
        "source",
        sa.Text(),
        False,
        "mp, agm, oqmd, ...; generated for cells that were made here",
        "mp, agm, oqmd, ...; generated for start structures of a benchmark",
    ),
)
_VIEW = "comment on column dataset_structure.split is '{}'"


def upgrade() -> None:
    op.drop_constraint(op.f("ck_dataset_member_split"), "dataset_member", type_="check")
    op.create_check_constraint(op.f("ck_dataset_member_split"), "dataset_member", _SPLITS)
    for table, column, kind, nullable, new, old in _COMMENTS:
        op.alter_column(
            table, column, existing_type=kind, existing_nullable=nullable, comment=new, existing_comment=old
        )
    op.execute(_VIEW.format("train, validation, test, off_equilibrium or generated"))


def downgrade() -> None:
    op.execute(_VIEW.format("train, validation, test or off_equilibrium"))
    for table, column, kind, nullable, new, old in _COMMENTS:
        op.alter_column(
            table, column, existing_type=kind, existing_nullable=nullable, comment=old, existing_comment=new
        )
    # Generated sets are what the tables of before cannot hold.
    op.execute("delete from dataset where id in (select dataset_id from dataset_member where split = 'generated')")
    op.drop_constraint(op.f("ck_dataset_member_split"), "dataset_member", type_="check")
    op.create_check_constraint(op.f("ck_dataset_member_split"), "dataset_member", _OLD_SPLITS)
