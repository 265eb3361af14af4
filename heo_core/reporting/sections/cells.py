"""Cells that several sections share: a number of a model with its interval, a count, an error in meV."""

from __future__ import annotations

from heo_core.reporting.blocks import Cell
from heo_core.reporting.comparison import Change
from heo_core.reporting.data import ReportData, as_number
from heo_core.reporting.quantities import choose_decimals, format_number, format_significant, get_quantity

NONE = "–"
"""Stands where there is no number."""


def make_metric_cell(data: ReportData, label: str, benchmark: str, name: str, *, best: bool = False) -> Cell:
    """Return a metric of a model with its interval below; a dash where there is none."""
    rows = data.metrics
    found = rows[(rows["label"] == label) & (rows["benchmark"] == benchmark) & (rows["name"] == name)]
    value = as_number(found["value"].iloc[0]) if len(found) else None
    if value is None:
        return Cell(NONE)
    low, high = as_number(found["ci_low"].iloc[0]), as_number(found["ci_high"].iloc[0])
    quantity = get_quantity(name, str(found["unit"].iloc[0]))
    value *= quantity.factor
    if low is None or high is None:
        return Cell(format_significant(value), order=value, best=best)
    low, high = low * quantity.factor, high * quantity.factor
    decimals = choose_decimals((high - low) / 2) if high > low else choose_decimals(abs(value))
    interval = f"{format_number(low, decimals)} to {format_number(high, decimals)}"
    return Cell(format_number(value, decimals), interval, value, low, high, best)


def make_change_cell(change: Change) -> Cell:
    """Return a paired difference with its interval below, in the digits that a sentence on it has."""
    shown = format_number(change.difference, change.decimals, signed=True)
    if change.interval is None:
        return Cell(shown, order=change.difference)
    ends = " to ".join(change.format_bound(bound) for bound in change.interval)
    return Cell(shown, ends, change.difference, *change.interval)


def make_yardstick_cell(data: ReportData, benchmark: str, name: str | None) -> Cell:
    """Return an error of knowing nothing, which every model of a benchmark shares; empty where it is not known."""
    for label in data.models["label"] if name else ():
        value = data.find_metric(str(label), benchmark, str(name))
        if value is not None:
            shown = value * get_quantity(str(name)).factor
            return Cell(format_significant(shown), order=shown)
    return Cell("")


def make_shown_cell(value: object, name: str) -> Cell:
    """Return a metric's value to three figures, in the unit that people see; a dash where there is none."""
    number = as_number(value)
    return make_significant_cell(None if number is None else number * get_quantity(name).factor)


def make_significant_cell(value: object) -> Cell:
    """Return a number to three figures, or a dash."""
    number = as_number(value)
    return Cell(NONE) if number is None else Cell(format_significant(number), order=number)


def make_count_cell(value: object) -> Cell:
    """Return a whole number, or a dash."""
    number = as_number(value)
    return Cell(NONE) if number is None else Cell(format_number(number, 0), order=number)


def make_error_cell(value: object) -> Cell:
    """Return an error in eV as meV (whatever it is divided by), or a dash."""
    number = as_number(value)
    return Cell(NONE) if number is None else Cell(format_significant(1000 * number), order=1000 * number)
