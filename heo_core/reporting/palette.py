"""One colour, dash and marker for each model in every figure, safe for colour-blind readers and in grey print."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

BASELINE_COLOUR = "#6F7782"
# Okabe and Ito's set, the dark ones first, and an indigo of Tol's in place of the yellow and the orange, which are too
# light for lines on white; the baseline is grey, so that colour means "new".
CANDIDATE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#332288", "#56B4E9")
CANDIDATE_DASHES = ("solid", "dashdot", "longdash", "dot", "longdashdot", "12px,3px,3px,3px,3px,3px")
CANDIDATE_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star")

INK = "#1F252B"
MUTED = "#5A646E"
GRID = "#E6EAEE"
AXIS = "#AEB6BE"
FONT = '-apple-system, "Segoe UI", "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif'
SEQUENTIAL = ((0.0, "#EDF3F8"), (0.25, "#BCD4E6"), (0.5, "#74A9CF"), (0.75, "#2B7BB0"), (1.0, "#08406B"))
# From light to dark, apart from every model's colour.
SPLIT_COLOURS = {"train": "#C3CCD4", "validation": "#7F90A0", "test": "#2E4355"}


@dataclass(frozen=True)
class ModelStyle:
    """How one model is drawn."""

    colour: str
    dash: str
    symbol: str

    @property
    def colourscale(self) -> list[list[Any]]:
        """From almost white to the model's colour, then darker: densities stay readable in grey print."""
        return [[0.0, mix(self.colour, "#FFFFFF", 0.12)], [0.65, self.colour], [1.0, mix(self.colour, "#000000", 0.6)]]


def mix(colour: str, other: str, share: float) -> str:
    """Return `share` of a #RRGGBB colour mixed with the rest of another."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02X}" for a, b in pairs)


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def assign_styles(models: pd.DataFrame) -> dict[str, ModelStyle]:
    """Return a style for each model label: grey and dashed for the baseline, colours in order for the others."""
    styles: dict[str, ModelStyle] = {}
    n_candidates = 0
    for label, role in zip(models["label"], models["role"], strict=True):
        if role == "baseline":
            styles[str(label)] = ModelStyle(BASELINE_COLOUR, "dash", "circle-open")
        else:
            styles[str(label)] = _candidate_style(n_candidates)
            n_candidates += 1
    return styles


def get_style(styles: Mapping[str, ModelStyle], label: str) -> ModelStyle:
    """Return the style of a model; one that is not in the models frame gets the last candidate's place."""
    return styles.get(label) or _candidate_style(len(CANDIDATE_COLOURS) - 1)


def _candidate_style(index: int) -> ModelStyle:
    place = index % len(CANDIDATE_COLOURS)
    return ModelStyle(CANDIDATE_COLOURS[place], CANDIDATE_DASHES[place], CANDIDATE_SYMBOLS[place])


_FORMULA = re.compile(r"(?:[A-Z][a-z]?(?:\d+(?:\.\d+)?)?)+")


def plain(text: object) -> str:
    """Return text that plotly shows as it is: it reads HTML tags and %{...} in labels, so these become entities."""
    escaped = html.escape(str(text), quote=False).replace("%", "&#37;")
    return "".join(sign if sign.isprintable() else " " for sign in escaped)


def formula_markup(formula: object) -> str:
    """Return a chemical formula with subscripts; anything that is not a formula becomes plain text."""
    text = str(formula)
    if len(text) > 120 or not _FORMULA.fullmatch(text):
        return plain(text)
    return re.sub(r"(\d+(?:\.\d+)?)", r"<sub>\1</sub>", text)
