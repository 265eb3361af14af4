"""A report in a few lines, for terminals and for Prefect's UI."""

from __future__ import annotations

from heo_core.reporting.answer import compute_headline, compute_statements
from heo_core.reporting.cautions import compute_cautions
from heo_core.reporting.data import ReportData


def compute_answer(data: ReportData) -> list[str]:
    """Return the headline, a sentence a benchmark, and the serious warnings."""
    statements, cautions = compute_statements(data), compute_cautions(data)
    return [
        compute_headline(data, statements, cautions),
        *(statement.text for statement in statements),
        *(f"Warning: {caution.text}" for caution in cautions if caution.serious),
    ]
