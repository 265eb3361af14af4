"""What comes with heo: a sample dataset and a small foundation model, each with a card beside it."""

from __future__ import annotations

from pathlib import Path

SAMPLE_DIR = Path(__file__).parent / "sample"
SAMPLE_LICENCE = "MIT"
SAMPLE_CITATION = "heo's own sample of rock-salt oxides; surrogate labels of SevenNet 7net-0 (sevenn 0.13.0), not DFT"

HEO_MINI_DIR = Path(__file__).parent / "heo-mini"

REFERENCE_DIR = Path(__file__).parent / "reference"
