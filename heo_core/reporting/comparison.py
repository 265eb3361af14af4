"""One paired difference between two models, and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from heo_core.evaluation.assessment import CHECKS, SOFT_SLOPE, SOFTER_BY, Outcome, judge
from heo_core.evaluation.energy_forces import RAW_ENERGY_METRICS, find_offset
from heo_core.evaluation.substitution_relax import REFERENCE_ENERGY
from heo_core.params import DFT_OFFEQ
from heo_core.records import Metric
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.quantities import (
    Quantity,
    choose_decimals,
    count_decimals,
    format_bound,
    get_difference_quantity,
    get_quantity,
)

Verdict = Literal["better", "caution", "worse", "undecided", "missing"]


@dataclass(frozen=True)
class Change:
    """One paired difference in the units that people see.

    before and after: the two models' own values, None unless both are over the very structures that were paired, and
    for total energies, which say little by themselves.
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
    def better_range(self) -> tuple[float, float] | None:
        """Between which differences the candidate is better; None where no way is good, or it is not known which.

        Below zero or above it; where 1 is right, those that bring the candidate nearer to 1 than the baseline's own
        value is, taken as it stands: none without that value.
        """
        match self.quantity.better:
            case "lower":
                return -math.inf, 0.0
            case "higher":
                return 0.0, math.inf
            case "one" if self.before is not None:
                as_near = 2 * (1 - self.before)  # so far on the other side of 1
                return min(0.0, as_near), max(0.0, as_near)
        return None

    @property
    def improved(self) -> bool | None:
        """Whether the difference points the good way, decided or not; None where that is not known."""
        good = self.better_range
        return None if good is None else good[0] < self.difference < good[1]

    @property
    def verdict(self) -> Verdict:
        """Better or worse only when the whole interval is, and nothing speaks against the difference itself."""
        good = self.better_range
        if self.caution or self.interval is None or good is None:
            return "undecided"
        low, high = self.interval
        if good[0] < low and high < good[1]:
            return "better"
        return "worse" if high < good[0] or low > good[1] else "undecided"

    @property
    def decimals(self) -> int:
        """Decimals for the numbers of a sentence: by the interval's half width, and more where the levels need them.

        Each level has two significant digits, and the difference is that of the levels as they are shown, if two
        decimals more can make it so.
        """
        low, high = self.interval or (0.0, 2 * abs(self.difference))
        decimals = choose_decimals((high - low) / 2)
        if self.before is None or self.after is None:
            return decimals
        decimals = max(decimals, count_decimals(self.before, 2), count_decimals(self.after, 2))
        return next((d for d in range(decimals, decimals + 3) if self._adds_up(d)), decimals)

    def _adds_up(self, decimals: int) -> bool:
        levels = self.before or 0.0, self.after or 0.0
        before, after, difference = (round(number, decimals) for number in (*levels, self.difference))
        return round(after - before, decimals) == difference

    def format_bound(self, bound: float) -> str:
        """Return a bound of the interval as it stands beside the difference."""
        return format_bound(bound, self.decimals)


def find_change(data: ReportData, benchmark: str, candidate: str, metric: str) -> Change | None:
    """Return the paired difference of a candidate to the baseline; None when it is missing or not a number."""
    row = data.find_comparison(candidate, benchmark, metric)
    value = None if row is None else as_number(row["value"])
    if row is None or value is None:
        return None
    n = int(as_number(row["n"]) or 0)
    before, after = (_find_level(data, label, benchmark, metric, n) for label in (str(data.baseline), candidate))
    if before is None or after is None or get_quantity(metric).unit == "eV/atom":
        before = after = None
    interval = as_number(row["ci_low"]), as_number(row["ci_high"])
    caution = as_text(row["caution"]) or _find_caution(data, benchmark, candidate, metric)
    return make_change(metric, value, n, interval, (before, after), caution)


def make_change(
    metric: str,
    difference: float,
    n: int,
    interval: tuple[float | None, float | None],
    levels: tuple[float | None, float | None],
    caution: str | None = None,
) -> Change:
    """Return a paired difference, its interval and both values, in stored units, in those that people see."""
    quantity = get_difference_quantity(metric)
    low, high, before, after = (None if number is None else number * quantity.factor for number in interval + levels)
    return Change(quantity, difference * quantity.factor, n, low, high, before, after, caution)


def _find_caution(data: ReportData, benchmark: str, candidate: str, metric: str) -> str | None:
    """Say why a difference says nothing, where that is seen in the data although nothing is stored with it."""
    pair = (str(data.baseline), candidate)
    if metric == REFERENCE_ENERGY:
        judge = data.find_reference(benchmark)
        return f"{judge} is the common reference itself, and favours its own minima" if judge in pair else None
    if metric in RAW_ENERGY_METRICS:
        return next((f"of {label}, {found}" for label in pair if (found := _find_offset(data, label, benchmark))), None)
    return None


def _find_offset(data: ReportData, label: str, benchmark: str) -> str | None:
    """Say that a model's energies stand on another scale than the labels, as the evaluation itself does."""
    names = ("energy_rmse_ev_per_atom", "energy_offset_removed_rmse_ev_per_atom")
    return find_offset([Metric(name, data.find_metric(label, benchmark, name), "eV/atom", 0) for name in names])


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
            _find_metric(data, benchmark, check.metric, str(data.baseline)),
            _find_metric(data, benchmark, check.metric, candidate),
            _make_metric(data.find_comparison(candidate, benchmark, check.metric)),
        )
        for check in CHECKS
        for benchmark in list_judged_benchmarks(data, check.kind)
    ]


def _find_metric(data: ReportData, benchmark: str, name: str, label: str) -> Metric | None:
    rows = data.metrics
    found = rows[(rows["label"] == label) & (rows["benchmark"] == benchmark) & (rows["name"] == name)]
    return _make_metric(found.iloc[0] if len(found) else None)


def _make_metric(row: pd.Series | None) -> Metric | None:
    if row is None:
        return None
    value, low, high = (as_number(row[column]) for column in ("value", "ci_low", "ci_high"))
    return Metric(str(row["name"]), value, str(row["unit"]), int(as_number(row["n"]) or 0), low, high)


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
