"""Which of two models found the lower minimum, in the eyes of labels: of DFT, or of a third model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from heo_core.evaluation.metrics import mean_metric
from heo_core.reporting.comparison import Change
from heo_core.reporting.data import ReportData
from heo_core.reporting.quantities import get_difference_quantity

METRIC = "labelled_energy_mean_ev_per_atom"
SAME_EV_PER_ATOM = 1e-4
"""Minima nearer to each other than this are the same one."""

_CODES = {"gpaw": "GPAW", "vasp": "VASP"}
_SEED = 0  # of the bootstrap: the same rows give the same interval


@dataclass(frozen=True)
class MinimaComparison:
    """Energies of the same cells, relaxed by a candidate and by the baseline, on the scale of one label set.

    judge: "DFT (GPAW, label set dft)". n_lower, n_higher: cells whose candidate's minimum is lower or higher than the
    baseline's by more than SAME_EV_PER_ATOM, of the change.n cells that both relaxed to rest and that are labelled.
    """

    judge: str
    n_lower: int
    n_higher: int
    change: Change


def compare_minima(data: ReportData, benchmark: str, candidate: str) -> Iterator[MinimaComparison]:
    """Compare a candidate with the baseline by each label set that has cells of both."""
    rows = data.labelled_minima
    for (name, engine, functional), found in rows[rows["benchmark"] == benchmark].groupby(
        ["label_set", "engine", "functional"]
    ):
        energies = found.pivot(index=["case_index", "origin"], columns="label", values="energy_ev_per_atom")
        if not {candidate, data.baseline} <= set(energies.columns):
            continue
        difference = (energies[candidate] - energies[data.baseline]).dropna()
        if difference.empty:
            continue
        origins = [str(origin) for origin in difference.index.get_level_values("origin")]
        metric = mean_metric(METRIC, "eV/atom", difference.tolist(), origins, np.random.default_rng(_SEED))
        quantity = get_difference_quantity(METRIC)
        value, low, high = (
            None if number is None else round(number * quantity.factor, 3) + 0.0  # no noise of the last digits
            for number in (metric.value, metric.ci_low, metric.ci_high)
        )
        judge = f"DFT ({_CODES[engine]}" if engine in _CODES else f"{functional.removesuffix(' (potential)')} (no DFT"
        yield MinimaComparison(
            judge=f"{judge}, label set {name})",
            n_lower=int((difference < -SAME_EV_PER_ATOM).sum()),
            n_higher=int((difference > SAME_EV_PER_ATOM).sum()),
            change=Change(quantity, value or 0.0, metric.n, low, high, None, None),
        )
