"""One paired difference between two models, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from heo_core.evaluation.assessment import CHECKS, SOFT_SLOPE, SOFTER_BY, Outcome, judge
from heo_core.params import DFT_OFFEQ
from heo_core.records import Metric
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.quantities import Quantity, choose_decimals, format_number, get_difference_quantity

Verdict = Literal["better", "caution", "worse", "undecided", "missing"]


@dataclass(frozen=True)
class Change:
    """One paired difference in the units that people see.

    before and after: the two models' own values, None unless both are over the very structures that were paired.
    caution: why the difference says nothing, whatever its interval; None where it does.
    """

    quantity: Quantity
    difference: float
    n: int
    low: float | None
    high: float | None
    before: float | None
    after: float | None
    caution: str | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the difference; None when none was computed."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def improved(self) -> bool:
        """Whether the difference points the good way, decided or not."""
        if self.quantity.better == "one" and self.before is not None and self.after is not None:
            return abs(self.after - 1) < abs(self.before - 1)
        return self.difference < 0 if self.quantity.better == "lower" else self.difference > 0

    @property
    def verdict(self) -> Verdict:
        """Better or worse only when the interval excludes zero, and nothing speaks against the difference itself."""
        if self.caution or self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "undecided"
        return "better" if self.improved else "worse"

    @property
    def decimals(self) -> int:
        """Decimals for the numbers of a sentence, by the interval's half width."""
        if self.interval is None:
            return choose_decimals(abs(self.difference))
        return choose_decimals((self.interval[1] - self.interval[0]) / 2)

    def format_bound(self, bound: float) -> str:
        """Return a bound of the interval; one beside zero has as many decimals as it takes not to be shown as zero."""
        decimals = self.decimals
        while bound != 0 and round(bound, decimals) == 0 and decimals < 4:
            decimals += 1
        return format_number(bound, decimals, signed=True)


def find_change(data: ReportData, benchmark: str, candidate: str, metric: str) -> Change | None:
    """Return the paired difference of a candidate to the baseline; None when it is missing or not a number."""
    rows = data.comparisons
    found = rows[(rows["benchmark"] == benchmark) & (rows["candidate"] == candidate) & (rows["name"] == metric)]
    found = found[found["baseline"] == data.baseline]
    value = as_number(found["value"].iloc[0]) if len(found) else None
    if value is None:
        return None
    quantity, row = get_difference_quantity(metric), found.iloc[0]
    n = int(as_number(row["n"]) or 0)
    before, after = (_find_level(data, label, benchmark, metric, n) for label in (str(data.baseline), candidate))
    if before is None or after is None:
        before = after = None
    low, high, before, after = (
        None if number is None else number * quantity.factor
        for number in (
            as_number(row["ci_low"]),
            as_number(row["ci_high"]),
            before,
            after,
        )
    )
    return Change(quantity, value * quantity.factor, n, low, high, before, after, as_text(row["caution"]))


def _find_level(data: ReportData, label: str, benchmark: str, metric: str, n: int) -> float | None:
    """Return a model's own value if as many structures are behind it as were paired: else it is over other ones."""
    rows = data.metrics
    found = rows[(rows["label"] == label) & (rows["benchmark"] == benchmark) & (rows["name"] == metric)]
    return as_number(found["value"].iloc[0]) if len(found) and as_number(found["n"].iloc[0]) == n else None


def find_outcomes(data: ReportData, candidate: str) -> list[Outcome]:
    """Every check of softening and forgetting of a candidate against the baseline, those without numbers too.

    The subject of a check names a benchmark that is not the bundled one of its kind.
    """
    return [
        judge(
            check
            if benchmark.partition("@")[0] == check.kind
            else replace(check, subject=f"{check.subject}, {benchmark}"),
            _find_metric(data.metrics, benchmark, check.metric, label=str(data.baseline)),
            _find_metric(data.metrics, benchmark, check.metric, label=candidate),
            _find_metric(data.comparisons, benchmark, check.metric, candidate=candidate, baseline=str(data.baseline)),
        )
        for check in CHECKS
        for benchmark in list_judged_benchmarks(data, check.kind)
    ]


def _find_metric(rows: pd.DataFrame, benchmark: str, name: str, **names: str) -> Metric | None:
    chosen = (rows["benchmark"] == benchmark) & (rows["name"] == name)
    for column, wanted in names.items():
        chosen &= rows[column] == wanted
    if not chosen.any():
        return None
    row = rows[chosen].iloc[0]
    value, low, high = (as_number(row[column]) for column in ("value", "ci_low", "ci_high"))
    return Metric(name, value, str(row["unit"]), int(as_number(row["n"]) or 0), low, high)


def list_judged_benchmarks(data: ReportData, kind: str) -> list[str]:
    """Return the benchmarks of a kind that limits are for: not the bundled cells by DFT, which are too few."""
    params = dict(zip(data.benchmarks["benchmark"].astype(str), data.benchmarks["params"], strict=True))

    def is_by_dft(benchmark: str) -> bool:
        found = params.get(benchmark)
        return isinstance(found, dict) and found.get("dataset") == DFT_OFFEQ.dataset

    return [benchmark for benchmark in data.benchmarks_of_kind(kind) if not is_by_dft(benchmark)]


def list_slope_benchmarks(data: ReportData) -> list[str]:
    """Return the benchmarks whose softening slope decides: off equilibrium where there is one, else the test split."""
    return list_judged_benchmarks(data, "off-equilibrium") or data.benchmarks_of_kind("energy-forces")


def is_soft(data: ReportData, benchmark: str, label: str) -> bool:
    """Return whether the slope is below 0.9, or below 1 and more than 0.02 below the baseline's."""
    slope = data.find_metric(label, benchmark, "forces_softening_slope")
    if slope is None or slope >= 1:
        return False
    base = data.find_metric(str(data.baseline), benchmark, "forces_softening_slope")
    return slope < SOFT_SLOPE or (label != data.baseline and base is not None and base - slope > SOFTER_BY)
