"""When a finetuned model counts as softer than its parent, or as having forgotten what the parent knew.

Every limit stands in `CHECKS`, and nowhere else: the flow that marks a model and the report both read them. A check is
beyond its limit only when the paired difference says so beyond chance: its 95 % interval lies on the wrong side of
zero. Without an interval (fewer than five chemical systems) nothing is decided and nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heo_core.params import BenchmarkKind
from heo_core.records import Metric

Code = Literal["softer", "forgets"]
Rule = Literal["slope", "share", "rise"]

SOFT_SLOPE = 0.9
"""Below this softening slope a potential is soft whatever it was before."""

SOFTER_BY = 0.02
"""A child whose slope is lower than its parent's by no more than this has not become softer."""


@dataclass(frozen=True)
class Check:
    """One limit.

    rule: "slope": below SOFT_SLOPE, and lower than the parent's by more than `limit`. "share": above the parent's value
    by more than this share of it. "rise": above the parent's by more than `limit`, in the metric's unit.
    subject and unit, with its factor, are how people read it.
    """

    code: Code
    kind: BenchmarkKind
    metric: str
    rule: Rule
    limit: float
    subject: str
    unit: str
    factor: float


CHECKS: tuple[Check, ...] = (
    Check(
        "softer",
        "off-equilibrium",
        "forces_softening_slope",
        "slope",
        SOFTER_BY,
        "softening slope off equilibrium",
        "",
        1.0,
    ),
    Check(
        "softer",
        "off-equilibrium",
        "forces_rmse_ev_per_ang",
        "share",
        0.10,
        "force RMSE off equilibrium",
        "meV/Å",
        1000.0,
    ),
    Check(
        "forgets",
        "forgetting-holdout",
        "forces_rmse_ev_per_ang",
        "share",
        0.25,
        "force RMSE on simple oxides",
        "meV/Å",
        1000.0,
    ),
    Check(
        "forgets",
        "forgetting-holdout",
        "energy_offset_removed_rmse_ev_per_atom",
        "share",
        0.25,
        "offset-removed energy RMSE on simple oxides",
        "meV/atom",
        1000.0,
    ),
    Check(
        "forgets",
        "equation-of-state",
        "equilibrium_volume_mae_fraction",
        "rise",
        0.01,
        "mean error of the equilibrium volume of binary oxides",
        "%",
        100.0,
    ),
    Check(
        "forgets",
        "equation-of-state",
        "bulk_modulus_mae_fraction",
        "rise",
        0.10,
        "mean error of the bulk modulus of binary oxides",
        "%",
        100.0,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """A check of one child: both values and their paired difference with its interval, None where there is none."""

    check: Check
    parent: float | None
    child: float | None
    difference: float | None
    ci_low: float | None
    ci_high: float | None

    @property
    def is_known(self) -> bool:
        """Whether there are numbers to show."""
        return None not in (self.parent, self.child, self.difference)

    @property
    def is_judged(self) -> bool:
        """Whether there is an interval beside, without which no limit can be passed."""
        return self.is_known and None not in (self.ci_low, self.ci_high)

    @property
    def is_beyond(self) -> bool:
        """Whether the values are beyond the limit, and the interval excludes zero; it may reach back over the limit."""
        if self.parent is None or self.child is None or self.difference is None:
            return False
        if self.ci_low is None or self.ci_high is None:
            return False
        if self.check.rule == "slope":
            return self.child < SOFT_SLOPE and -self.difference > self.check.limit and self.ci_high < 0
        allowed = self.check.limit * (self.parent if self.check.rule == "share" else 1.0)
        return self.difference > allowed and self.ci_low > 0


def judge(check: Check, parent: Metric | None, child: Metric | None, difference: Metric | None) -> Outcome:
    """Put a check's numbers together; each is None where it was not computed."""
    return Outcome(
        check,
        parent=parent.value if parent else None,
        child=child.value if child else None,
        difference=difference.value if difference else None,
        ci_low=difference.ci_low if difference else None,
        ci_high=difference.ci_high if difference else None,
    )


def describe_limit(check: Check) -> str:
    """Return the limit in words: "at most 10 % above the parent's"."""
    if check.rule == "slope":
        return f"{SOFT_SLOPE:g} or more, or at most {check.limit:g} below the parent's"
    if check.rule == "share":
        return f"at most {100 * check.limit:g} % above the parent's"
    size = f"{check.limit * check.factor:g}"
    unit = f"percentage point{'' if size == '1' else 's'}" if check.unit == "%" else check.unit
    return f"at most {size} {unit} above the parent's"


def describe(outcome: Outcome) -> str:
    """Return a sentence on an outcome beyond its limit; ValueError for one without numbers."""
    check = outcome.check
    if outcome.parent is None or outcome.child is None or outcome.difference is None:
        msg = f"the {check.subject} has no numbers to describe"
        raise ValueError(msg)
    spec = "+.3f" if check.rule == "slope" else "+.3g"
    difference, low, high = (
        "unknown" if value is None else f"{value * check.factor:{spec}}".replace("-", "\N{MINUS SIGN}")
        for value in (outcome.difference, outcome.ci_low, outcome.ci_high)
    )
    paired = f"paired difference {difference}, 95 % CI {low} to {high}); limit: {describe_limit(check)}."
    if check.rule == "slope":
        slopes = f"{outcome.child:.3f}, the parent's {outcome.parent:.3f}"
        return f"Softer: the {check.subject} is {slopes} (1 is right; {paired}"
    word = "Softer" if check.code == "softer" else "Forgets"
    word = "Worse off equilibrium" if check.kind == "off-equilibrium" else word
    before, after = (f"{value * check.factor:.3g}" for value in (outcome.parent, outcome.child))
    return f"{word}: the {check.subject} went from {before} to {after} {check.unit} ({paired}"
