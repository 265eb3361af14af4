"""What must hold for any potential, whatever the labels: slopes, drift, smooth wells, repulsion at short range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Choice, Column, Heading, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.palette import ModelStyle, get_style
from heo_core.reporting.quantities import format_significant
from heo_core.reporting.sections.benchmark_titles import KIND_TITLES, describe_benchmark, make_key
from heo_core.reporting.sections.cells import NONE

# Title, unit and factor of each number, by check.
_NUMBERS: dict[str, dict[str, tuple[str, str, float]]] = {
    "cells": {
        "forces_deviation_max_ev_per_ang": ("Force, largest deviation", "meV/Å", 1e3),
        "forces_deviation_rms_ev_per_ang": ("Force, RMS deviation", "meV/Å", 1e3),
        "stress_deviation_max_ev_per_ang3": ("Stress, largest deviation", "meV/Å³", 1e3),
        "energy_drift_ev_per_atom_per_ps": ("Energy drift", "meV/atom/ps", 1e3),
        "energy_fluctuation_ev_per_atom": ("Energy fluctuation", "meV/atom", 1e3),
    },
    "volume-curve": {
        "energy_flips": ("Flips", "", 1.0),
        "bulk_modulus_gpa": ("Bulk modulus", "GPa", 1.0),
    },
    "repulsion": {
        "energy_flips": ("Flips", "", 1.0),
        "energy_at_1_ang_ev": ("Energy at 1 Å", "eV", 1.0),
        "repulsive_down_to_ang": ("Repulsive down to", "Å", 1.0),
    },
}
_KINDS = {
    "cells": ("forces", "stress", "energy-drift"),
    "volume-curve": ("volume-curve",),
    "repulsion": ("repulsion",),
}


def build_physics(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return the checks of physics, subject by subject, with the curves behind them."""
    lead = (
        "What must hold for any potential, whatever the labels: forces and stress are the slopes of the energy, the "
        "energy of a moving cell does not drift, an oxide has one well over its volume, and a metal pressed against an "
        "oxygen is repelled. A hole at short range matters where atoms come close: at high temperature, or from a "
        "random start."
    )
    if data.physics_checks.empty:
        missing = Missing("These models' physics was not checked.", "heo evaluate --benchmark physics")
        return Section("physics", "Physics", lead, [missing])
    blocks: list[Block] = []
    names = list(dict.fromkeys(data.physics_checks["benchmark"].astype(str)))
    for name in names:
        suffix = ""
        if len(names) > 1:
            suffix = f"-{make_key(name)}"
            blocks.append(Heading(KIND_TITLES["physics"], describe_benchmark(data, name)))
        checks, curves = (frame[frame["benchmark"] == name] for frame in (data.physics_checks, data.physics_curves))
        blocks.extend(_make_blocks(checks, curves, styles, suffix))
    return Section("physics", "Physics", lead, blocks)


def _make_blocks(
    checks: pd.DataFrame, curves: pd.DataFrame, styles: Mapping[str, ModelStyle], suffix: str
) -> Iterator[Block]:
    """Yield the curves and tables of one benchmark; suffix: of their keys."""
    panels = _make_panels(checks, curves, styles, suffix)
    if panels:
        yield Panels(panels)
    for key, title in (
        ("cells", "Forces, stress and drift, cell by cell"),
        ("volume-curve", "Wells over the volume, oxide by oxide"),
        ("repulsion", "Repulsion, pair by pair"),
    ):
        table = _make_table(checks, styles, key, title, suffix)
        if table.rows:
            yield table


def _make_panels(
    checks: pd.DataFrame, curves: pd.DataFrame, styles: Mapping[str, ModelStyle], suffix: str
) -> list[Panel]:
    panels = []
    for kind, choose, title, caption in (
        (
            "volume-curve",
            "Oxide",
            "Energy over volume.",
            "Atoms not relaxed. Those with the most flips stand first: a smooth potential has one well and no flip.",
        ),
        (
            "repulsion",
            "Pair",
            "Short-range repulsion.",
            "A pair alone in a box, those with the most flips first. Where the energy falls inwards, there is a hole.",
        ),
    ):
        subjects = _rank_subjects(checks, curves, kind)
        if not subjects:
            continue
        choices = []
        for subject in subjects:
            drawn = list(figures.list_physics_curves(curves, kind, subject).values())
            choices.append(Choice(subject, {"x": [x for x, _ in drawn], "y": [y for _, y in drawn]}, {}))
        figure = figures.plot_physics_curve(curves, styles, kind, subjects[0])
        panels.append(Panel(f"physics-{kind}{suffix}", title, caption, figure, 360, choices, choose))
    return panels


def _rank_subjects(checks: pd.DataFrame, curves: pd.DataFrame, kind: str) -> list[str]:
    """Subjects of a check that have a curve: those with the most flips under any model first, then by name."""
    rows = checks[(checks["kind"] == kind) & (checks["name"] == "energy_flips")]
    flips = pd.to_numeric(rows["value"], errors="coerce").groupby(rows["subject"].astype(str)).max().fillna(0)
    drawn = sorted({str(subject) for subject in curves.loc[curves["kind"] == kind, "subject"]})
    return sorted(drawn, key=lambda subject: -float(flips.get(subject, 0)))


def _make_table(checks: pd.DataFrame, styles: Mapping[str, ModelStyle], key: str, title: str, suffix: str) -> Table:
    numbers = _NUMBERS[key]
    rows = checks[checks["kind"].isin(_KINDS[key])].sort_values("subject", kind="stable")
    columns = [Column("Subject", numeric=False), Column("Model", numeric=False)]
    columns += [Column(name, unit) for name, unit, _ in numbers.values()]
    columns.append(Column("Failed", numeric=False))
    body = []
    for (subject, label), found in rows.groupby(["subject", "label"], sort=False):
        values = dict(zip(found["name"], found["value"], strict=True))
        cells = [_make_cell(values.get(name), factor) for name, (_, _, factor) in numbers.items()]
        reasons = dict.fromkeys(reason for value in found["failure"] if (reason := as_text(value)))
        body.append(
            Row(
                [Cell(str(subject)), Cell(str(label)), *cells, Cell("; ".join(reasons) or NONE)],
                colour=get_style(styles, str(label)).colour,
            )
        )
    return Table(f"physics-{key}-table{suffix}", title, columns, body, folded=key != "cells")


def _make_cell(value: object, factor: float) -> Cell:
    number = as_number(value)
    return Cell(NONE) if number is None else Cell(format_significant(number * factor), order=number * factor)
