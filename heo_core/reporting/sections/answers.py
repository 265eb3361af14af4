"""What the report answers: the statements of each benchmark, with their intervals."""

from __future__ import annotations

from heo_core.reporting.answer import Statement, compute_statements
from heo_core.reporting.blocks import Answer, Block, Interval, Missing
from heo_core.reporting.data import ReportData
from heo_core.reporting.sections.benchmark_titles import KIND_TITLES, describe_benchmark


def build_answers(data: ReportData, statements: list[Statement] | None = None) -> list[Block]:
    """Return the statements grouped by benchmark, each with a picture of its interval; or what is missing for them."""
    statements = compute_statements(data) if statements is None else statements
    if not statements:
        return [_explain_no_answer(data)]
    grouped: dict[tuple[str, str], list[Statement]] = {}
    for statement in statements:
        grouped.setdefault((statement.kind, statement.benchmark), []).append(statement)
    blocks: list[Block] = [
        Answer(
            KIND_TITLES.get(kind, kind), describe_benchmark(data, benchmark), [(s, _draw_interval(s)) for s in found]
        )
        for (kind, benchmark), found in grouped.items()
    ]
    if any(statement.verdict == "missing" for statement in statements):
        blocks.append(
            Missing("Some comparisons are missing: not every model was evaluated on every benchmark.", "heo evaluate")
        )
    return blocks


def _explain_no_answer(data: ReportData) -> Missing:
    if data.models.empty:
        return Missing("No model stands in this report.", "heo finetune --dataset sample --foundation heo-mini")
    if not data.candidates:
        return Missing("There is only one model, so there is nothing to compare it with.", "heo finetune")
    return Missing("No model has been evaluated yet.", "heo evaluate")


def _draw_interval(statement: Statement) -> Interval | None:
    low, value, high = statement.ci_low, statement.difference, statement.ci_high
    if low is None or value is None or high is None:
        return None
    reach = max(abs(low), abs(high), abs(value)) * 1.12 or 1.0

    def place(number: float) -> float:
        return round(100 + 100 * min(max(number / reach, -1.0), 1.0), 1)

    good = statement.better_range
    return Interval(place(low), place(value), place(high), None if good is None else (place(good[0]), place(good[1])))
