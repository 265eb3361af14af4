"""Which of two models found the lower minimum, in the eyes of labels: of DFT, or of a third model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from heo_core.evaluation.metrics import mean_metric
from heo_core.reporting.comparison import Change
from heo_core.reporting.data import ReportData, is_true
from heo_core.reporting.quantities import get_difference_quantity

METRIC = "labelled_energy_mean_ev_per_atom"
SAME_EV_PER_ATOM = 1e-4
"""Minima nearer to each other than this are the same one."""
OTHER_STATE_MUB = 0.5
"""Whole cells whose moments, up or down, differ by more than this are in different magnetic states."""

_CODES = {"gpaw": "GPAW", "vasp": "VASP"}
_SEED = 0  # of the bootstrap: the same rows give the same interval


@dataclass(frozen=True)
class MinimaComparison:
    """Energies of the same cells, relaxed by a candidate and by the baseline, on the scale of one label set.

    judge: "DFT (GPAW, label set dft)". is_dft: whether it is DFT, not a surrogate. party: the one of the two models
    that is the judge itself, whose word decides nothing; None where neither is. n_lower, n_higher: cells whose
    candidate's minimum is lower or higher than the baseline's by more than SAME_EV_PER_ATOM, of the change.n cells that
    both relaxed to rest and that are labelled; n_other_state: those whose moments differ by more than OTHER_STATE_MUB.
    """

    judge: str
    is_dft: bool
    party: str | None
    n_lower: int
    n_higher: int
    n_other_state: int
    change: Change


def compare_minima(data: ReportData, benchmark: str, candidate: str) -> Iterator[MinimaComparison]:
    """Compare a candidate with the baseline by each label set that has cells of both."""
    minima = data.labelled_minima
    for (name, engine, functional), found in minima[minima["benchmark"] == benchmark].groupby(
        ["label_set", "engine", "functional"]
    ):
        pair = [candidate, str(data.baseline)]
        by_model = {label: rows.set_index(["case_index", "origin"]) for label, rows in found.groupby("label")}
        if not set(pair) <= by_model.keys():
            continue
        own, base = (by_model[label] for label in pair)
        difference = (own["energy_ev_per_atom"] - base["energy_ev_per_atom"]).dropna()
        if difference.empty:
            continue
        origins = [str(origin) for origin in difference.index.get_level_values("origin")]
        metric = mean_metric(METRIC, "eV/atom", difference.tolist(), origins, np.random.default_rng(_SEED))
        quantity = get_difference_quantity(METRIC)
        value, low, high = (
            None if number is None else round(number * quantity.factor, 3) + 0.0  # no noise of the last digits
            for number in (metric.value, metric.ci_low, metric.ci_high)
        )
        own_moment, base_moment = (pd.to_numeric(model["total_moment_mub"]).abs() for model in (own, base))
        moment_difference = (own_moment - base_moment).loc[difference.index]
        is_dft = engine in _CODES
        judge = f"DFT ({_CODES[engine]}" if is_dft else f"{functional.removesuffix(' (potential)')} (surrogate, not DFT"
        parties = set(found.loc[is_true(found["judged_by_itself"]), "label"])
        yield MinimaComparison(
            judge=f"{judge}, label set {name})",
            is_dft=is_dft,
            party=next((label for label in pair if label in parties), None),
            n_lower=int((difference < -SAME_EV_PER_ATOM).sum()),
            n_higher=int((difference > SAME_EV_PER_ATOM).sum()),
            n_other_state=int((moment_difference.abs() > OTHER_STATE_MUB).sum()),
            change=Change(quantity, value or 0.0, metric.n, low, high, None, None),
        )
