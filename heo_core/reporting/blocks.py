"""What a page is built of: sections of figures, tables, facts and notes. Their text is raw; the template escapes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from heo_core.reporting.answer import Statement
from heo_core.reporting.viewer import Viewer


@dataclass(frozen=True)
class Choice:
    """One way to colour a figure: its name in the list, what plotly updates in the traces and in the layout."""

    name: str
    data: dict[str, list[Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One figure with its caption; title is the caption's first words, height in pixels.

    choices: what the reader may choose to see, asked for by the word `choose`; the figure shows the first.
    """

    key: str
    title: str
    caption: str
    figure: go.Figure
    height: int = 340
    choices: list[Choice] = field(default_factory=list)
    choose: str = "Colour by"

    @property
    def total_height(self) -> int:
        """Height with room for a legend of more than two rows, which would else squeeze the axes."""
        n_entries = sum(trace.showlegend is not False and bool(trace.name) for trace in self.figure.data)
        return self.height + 17 * max(0, n_entries - 2)


@dataclass(frozen=True)
class Panels:
    """Figures side by side where the window is wide enough.

    size: small, medium, full (the whole width), or wide (the same, but it scrolls on a narrow screen).
    """

    panels: list[Panel]
    size: str = "medium"
    kind: str = field(default="panels", init=False)


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, a smaller second line, what it is sorted by. formula: digits are subscripts.

    order, low and high are the number and its interval in the unit of the column, not rounded: what the CSV has.
    """

    text: str
    detail: str = ""
    order: float | None = None
    low: float | None = None
    high: float | None = None
    best: bool = False
    formula: bool = False
    code: bool = False


@dataclass(frozen=True)
class Column:
    """One column of a table: header, unit below it, the group it belongs to, a hint, and whether it holds numbers."""

    title: str
    unit: str = ""
    group: str = ""
    hint: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """One row of a table. colour: of the model, drawn before its name; aside: a yardstick, not a model, kept last.

    structure: id of the structure that the row is about; a click on its point in a figure leads here.
    """

    cells: list[Cell]
    colour: str | None = None
    aside: bool = False
    structure: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column and saved as CSV. links: section of the page that a group is about."""

    key: str
    title: str
    columns: list[Column]
    rows: list[Row]
    caption: str = ""
    folded: bool = False
    links: dict[str, str] = field(default_factory=dict)
    kind: str = field(default="table", init=False)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group, as (group, number of columns); empty when no column has one."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(group for group, _ in spans) else []


@dataclass(frozen=True)
class Facts:
    """Names and values, in two columns."""

    title: str
    rows: list[tuple[str, str]]
    folded: bool = False
    kind: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Code:
    """Lines to copy: commands, or BibTeX."""

    title: str
    text: str
    caption: str = ""
    folded: bool = False
    kind: str = field(default="code", init=False)


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, with a line of explanation."""

    title: str
    text: str = ""
    kind: str = field(default="heading", init=False)


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command that makes it."""

    text: str
    command: str
    kind: str = field(default="missing", init=False)


@dataclass(frozen=True)
class Interval:
    """Geometry of a small picture of a difference and its interval, in a box 200 wide with zero in the middle.

    good: from where to where the candidate is better; None where that is not known.
    """

    low: float
    value: float
    high: float
    good: tuple[float, float] | None


@dataclass(frozen=True)
class Answer:
    """The statements of one benchmark."""

    title: str
    detail: str
    statements: list[tuple[Statement, Interval | None]]
    kind: str = field(default="answer", init=False)


Block = Panels | Table | Facts | Code | Heading | Missing | Answer | Viewer


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    key: str
    title: str
    lead: str
    blocks: list[Block]
