"""comments that say what is so: from where a displacement counts, and which benchmarks a model waits for."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# What it is on, the comment, and the one of before.
_COMMENTS = (
    (
        "column relaxation_total.displacement_rmsd_mean_ang",
        "from the target (or start), Å, over those that have a final state",
        "from the target, Å, over those that have one and a final state",
    ),
    (
        "column relaxation_summary.displacement_rmsd_mean_ang",
        "from the target (or start), Å, over those that have a final state",
        "from the target, Å, over those that have one and a final state",
    ),
    (
        "column relaxation_pair.displacement_rmsd_ang",
        "of model, from the target (or start), Å",
        "of model, from the target, Å",
    ),
    (
        "column relaxation_pair.other_displacement_rmsd_ang",
        "of other_model, from the target (or start), Å",
        "of other_model, from the target, Å",
    ),
    (
        "view pending_evaluation",
        "models that are not archived and have no completed evaluation on the newest version of a benchmark",
        "models that are not archived and have no completed evaluation on the newest version of a benchmark that others "
        "of them have",
    ),
)


def upgrade() -> None:
    for what, comment, _ in _COMMENTS:
        op.execute(f"comment on {what} is '{comment}'")


def downgrade() -> None:
    for what, _, comment in _COMMENTS:
        op.execute(f"comment on {what} is '{comment}'")
