"""Every figure of the report as a picture file, for papers and slides; a Chrome or Chromium draws them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from heo_core.errors import InputError, ServiceError, first_line
from heo_core.reporting.blocks import Panel, Panels
from heo_core.reporting.data import ReportData
from heo_core.reporting.file_names import name_files
from heo_core.reporting.sections import build_sections

ImageFormat = Literal["svg", "png", "pdf"]

# Pixels of 1/96 inch: wider than a column of a paper by a third, and than a page by a quarter; letters stay readable.
_WIDTHS = {"small": 460, "medium": 460, "wide": 860, "full": 860}
# Of a png: 300 dots an inch.
_PNG_SCALE = 300 / 96
_NAMES = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "chrome")
_PLAYWRIGHT = ("chromium-*/chrome-linux*/chrome", "chromium-*/chrome-mac*/Chromium.app/Contents/MacOS/Chromium")
_HINT = (
    "install one (Debian: apt-get install chromium; elsewhere: kaleido_get_chrome) or name it in BROWSER_PATH; or take "
    "the picture of a figure by its button on the page"
)


def write_images(data: ReportData, folder: Path, image_format: ImageFormat) -> list[Path]:
    """Write each figure of the report as FOLDER/NAME.FORMAT, named as its buttons on the page do; returns the paths.

    A file is replaced as a whole, or stays as it was. InputError without a Chrome or Chromium, ServiceError where it
    does not draw.
    """
    blocks = [block for section in build_sections(data) for block in section.blocks]
    panels = [(panel, block.size) for block in blocks if isinstance(block, Panels) for panel in block.panels]
    files = name_files(panel.key for panel, _ in panels)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".figures-", dir=folder) as name:
        drawn = Path(name)
        _draw([_describe(panel, size, drawn / f"{files[panel.key]}.{image_format}") for panel, size in panels])
        return [file.replace(folder / file.name) for file in sorted(drawn.iterdir())]


def _describe(panel: Panel, size: str, path: Path) -> dict[str, object]:
    """One figure as kaleido takes it, on white paper."""
    figure = panel.figure.to_dict()
    figure["layout"] |= {"paper_bgcolor": "#FFFFFF", "plot_bgcolor": "#FFFFFF"}
    image_format = path.suffix.removeprefix(".")
    scale = _PNG_SCALE if image_format == "png" else 1.0
    opts = {"format": image_format, "width": _WIDTHS[size], "height": panel.total_height, "scale": scale}
    return {"fig": figure, "path": path, "opts": opts}


def _draw(figures: list[dict[str, object]]) -> None:
    import kaleido
    from choreographer.browsers import ChromeNotFoundError

    try:
        # Without MathJax, which would come from the network.
        kaleido.write_fig_from_object_sync(
            figures, kopts={"path": find_browser(), "mathjax": False, "timeout": 300}, cancel_on_error=True
        )
    except ChromeNotFoundError as exc:
        raise InputError(f"no Chrome or Chromium was found to draw the figures: {_HINT}") from exc
    except (RuntimeError, OSError, TimeoutError, kaleido.errors.KaleidoError) as exc:
        raise ServiceError(f"the browser did not draw the figures: {first_line(exc)}") from exc


def find_browser() -> str | None:
    """Path of the browser that is named, installed or playwright's; None lets kaleido look where it knows."""
    named = os.environ.get("BROWSER_PATH")
    installed = next((path for name in _NAMES if (path := shutil.which(name))), None)
    root = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    bundled = next((str(path) for pattern in _PLAYWRIGHT for path in sorted(root.glob(pattern), reverse=True)), None)
    return named or installed or bundled
