"""The report as one HTML page that opens offline: it loads nothing, and no text of the data becomes markup or code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from heo_core.reporting.answer import compute_headline, compute_statements
from heo_core.reporting.blocks import Panels, Section, Table
from heo_core.reporting.cautions import compute_cautions, list_marks
from heo_core.reporting.data import ReportData
from heo_core.reporting.file_names import name_files
from heo_core.reporting.palette import assign_styles, formula_markup
from heo_core.reporting.sections import build_answers, build_sections
from heo_core.reporting.viewer import Viewer
from heo_core.whole_file import replacing

_FOLDER = Path(__file__).parent
# One after the other they are the page's own script.
_SCRIPTS = ("csv.js", "tables.js", "figures.js", "print.js", "choices.js", "copy.js", "viewer.js", "page.js")
_MOLECULES = ("vendor/3Dmol-2.5.5.LICENSE.txt", "vendor/3Dmol-2.5.5.min.js")
# The space before a unit, and those around an arrow between two numbers: no line should break there.
_LOOSE_UNIT = re.compile(r"(?<=\d) (?=%|m?eV|Å|→)|(?<=→) (?=\S)")


def render_page(data: ReportData) -> str:
    r"""Return the whole report as one self-contained HTML page.

    Every string of the data is escaped: by jinja2 in the text, by `plain` in the figures, and `<` by \u003c in
    embedded JSON. A content security policy names the scripts by their hashes, so that no other script could run
    and nothing could be fetched.
    """
    statements = compute_statements(data)
    cautions = compute_cautions(data)
    return assemble_page(
        data,
        headline=compute_headline(data, statements, cautions),
        answers=build_answers(data, statements),
        cautions=cautions,
        marks=list_marks(data),
        sections=build_sections(data),
        styles=assign_styles(data.models),
    )


def assemble_page(data: Any, *, sections: Sequence[Section], **parts: Any) -> str:
    """Put sections and the other parts that page.html names into one page, with all that their figures need."""
    blocks = [block for section in sections for block in section.blocks]
    panels = [panel for block in blocks if isinstance(block, Panels) for panel in block.panels]
    tables = [block for block in blocks if isinstance(block, Table)]
    viewers = [block for block in blocks if isinstance(block, Viewer)]
    embedded = {f"figure-{panel.key}": panel.figure.to_json() for panel in panels}
    embedded |= {
        f"choices-{p.key}": to_json_plotly([[c.data, c.layout] for c in p.choices]) for p in panels if p.choices
    }
    # A number that is not finite is no JSON, and the page's script would draw nothing at all.
    embedded |= {
        f"scenes-{viewer.key}": json.dumps(viewer.to_json(), separators=(",", ":"), allow_nan=False)
        for viewer in viewers
    }
    libraries = [get_plotlyjs(), *([_read_molecules()] if viewers else [])]
    scripts = [*libraries, "".join(_read(name) for name in _SCRIPTS)]
    return (
        _environment()
        .get_template("page.html")
        .render(
            data=data,
            sections=sections,
            files=name_files([*(panel.key for panel in panels), *(table.key for table in tables)]),
            embedded={key: _escape_json(text) for key, text in embedded.items()},
            css=Markup(_read("page.css") + _read("viewer.css")),  # noqa: S704
            scripts=[Markup(script) for script in scripts],  # noqa: S704
            script_hashes=[_hash_script(script) for script in scripts],
            **parts,
        )
    )


def write_page(html: str, path: Path) -> Path:
    """Write the page in one piece: a reader sees the old page or the new one, never half. Returns the path."""
    with replacing(path) as partial:
        partial.write_text(html, encoding="utf-8", newline="\n")
    return path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["glue"] = lambda text: _LOOSE_UNIT.sub("\N{NO-BREAK SPACE}", text)
    environment.filters["formula"] = lambda text: Markup(formula_markup(text))  # noqa: S704
    return environment


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _read_molecules() -> str:
    """3Dmol.js under its licence, which goes wherever it goes."""
    licence, script = (_read(name) for name in _MOLECULES)
    return f"/*\n{licence}*/\n{script}"


def _escape_json(text: str | None) -> Markup:
    """JSON that can stand inside a script element: no sign in it can end the element or open a tag."""
    text = str(text)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def _hash_script(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"
