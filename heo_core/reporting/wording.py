"""Small pieces of sentences."""

from __future__ import annotations

from heo_core.reporting.data import ReportData, as_text
from heo_core.reporting.quantities import format_number


def name_model(data: ReportData, label: str) -> str:
    """Return "The baseline", "The finetuned model" (the only candidate, a child of the baseline), or the label."""
    if label == data.baseline:
        return "The baseline"
    parents = data.models.loc[data.models["label"] == label, "parent"]
    is_child = len(parents) > 0 and as_text(parents.iloc[0]) == data.baseline
    return "The finetuned model" if len(data.candidates) == 1 and is_child else label


def format_percent(share: float) -> str:
    """Return a fraction as whole per cent, with a decimal below 1 %."""
    return f"{format_number(100 * share, 0 if share >= 0.01 else 1)} %"


def count_nouns(n: int, noun: str) -> str:
    """Return "1 structure" or "2 structures"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def count_cases(data: ReportData, benchmark: str, n: int) -> str:
    """Return "8 structures", "16 starts" where several start from rattled copies of one structure, or "29 oxides".

    n is that of a metric: of equations of state it counts oxides, not their cells.
    """
    if data.find_kind(benchmark) == "equation-of-state":
        return count_nouns(n, "oxide")
    return count_nouns(n, "structure" if data.count_structures(benchmark) is None else "start")


def join_words(parts: list[str]) -> str:
    """Return the parts as "A, B and C"."""
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
