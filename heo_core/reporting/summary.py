"""A report in a few lines, for terminals and for Prefect's UI."""

from __future__ import annotations

from heo_core.reporting.answer import compute_headline, compute_statements
from heo_core.reporting.cautions import compute_cautions
from heo_core.reporting.data import ReportData


def compute_answer(data: ReportData) -> list[str]:
    """Return the headline, the statements, by benchmark where a kind has several, and the serious warnings."""
    statements, cautions = compute_statements(data), compute_cautions(data)
    return [
        compute_headline(data, statements, cautions),
        *(
            f"{statement.benchmark}: {statement.text}"
            if len(data.benchmarks_of_kind(statement.kind)) > 1
            else statement.text
            for statement in statements
        ),
        *(f"Warning: {caution.text}" for caution in cautions if caution.serious),
    ]
