"""Models can be told apart by colour-blind readers, and in grey print by dash and marker."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from heo_core.reporting.palette import CANDIDATE_COLOURS, assign_styles

# Machado, Oliveira and Fernandes (2009), full severity, on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
NOTICED = 12  # CIE76; 2.3 is just noticed side by side


@pytest.fixture(scope="module")
def styles():
    labels = ["base@1", *(f"child-{i}@1" for i in range(len(CANDIDATE_COLOURS)))]
    return assign_styles(pd.DataFrame({"label": labels, "role": ["baseline", *["candidate"] * len(CANDIDATE_COLOURS)]}))


def compute_lab(colour, sight):
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(np.asarray(sight) @ linear, 0, 1) / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHTS)
def test_no_two_models_have_colours_that_look_alike(styles, sight):
    seen = {label: compute_lab(style.colour, SIGHTS[sight]) for label, style in styles.items()}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in combinations(seen, 2)}
    assert min(distances.values()) > NOTICED, min(distances, key=distances.get)


def test_every_model_has_a_dash_and_a_marker_of_its_own(styles):
    assert len({style.dash for style in styles.values()}) == len(styles)
    assert len({style.symbol for style in styles.values()}) == len(styles)
