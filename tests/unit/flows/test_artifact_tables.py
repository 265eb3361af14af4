"""Tables for people: few digits, no empty columns, and the units of the report."""

from __future__ import annotations

from flows.artifact_tables import put_into_words, tidy
from flows.assess import make_row
from heo_core.records import Metric


def test_a_table_has_four_digits_and_no_column_without_a_number() -> None:
    rows = [{"epoch": 10, "loss": 0.123456, "stress": None}, {"epoch": 20, "loss": None, "stress": None}]
    assert tidy(rows) == [{"epoch": 10, "loss": 0.1235}, {"epoch": 20, "loss": None}]
    assert tidy([]) == []
    assert tidy([{"energy": -5.3865432}], digits=6) == [{"energy": -5.38654}]


def test_metrics_are_headed_as_in_the_report_in_its_units() -> None:
    row = {"epoch": 1, "train_loss": 0.5, "forces_mae_ev_per_ang": 0.25, "replay_forces_rmse_ev_per_ang": None}
    assert put_into_words(row) == {
        "Epoch": 1,
        "Train loss": 0.5,
        "Force MAE (meV/Å)": 250.0,
        "Force RMSE (meV/Å), replayed cells": None,
    }
    assert put_into_words({"volume_per_atom_ang3": 9.5}) == {"Volume per atom (Å³)": 9.5}


def test_parent_and_child_stand_side_by_side_with_their_paired_difference() -> None:
    name, unit = "forces_rmse_ev_per_ang", "eV/Å"
    parent, child = Metric(name, 0.5, unit, 9), Metric(name, 0.25, unit, 9)
    row = make_row("cells@1", name, parent, child, Metric(name, -0.25, unit, 9, ci_low=-0.5, ci_high=-0.125))
    assert row == {
        "benchmark": "cells@1",
        "metric": "Force RMSE (meV/Å)",
        "parent": 500.0,
        "child": 250.0,
        "paired difference": -250.0,
        "95 % interval": "-500 to -125",
    }
    alone = make_row("cells@1", name, None, child, None)
    assert [alone[column] for column in ("parent", "paired difference", "95 % interval")] == [None, None, None]
