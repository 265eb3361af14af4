"""The map of compositions: like compositions are near, small and odd datasets have a defined picture."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from heo_core.curation.embedding import embed_compositions, project

pytest.importorskip("elementembeddings", reason="needs the extra heo[map]")

ELEMENTS = ("Mg", "Co", "Ni", "Cu", "Zn", "Sr", "Ba", "La", "Ti", "Zr", "Nb", "Ce")


def draw_compositions(n, seed=0):
    rng = np.random.default_rng(seed)
    return [dict.fromkeys(rng.choice(ELEMENTS, 5, replace=False).tolist(), 0.2) for _ in range(n)]


def test_columns_are_standardised_or_zero():
    vectors = embed_compositions(draw_compositions(40))
    assert vectors.shape == (40, 22)
    deviations = vectors.std(axis=0)
    assert vectors.mean(axis=0) == pytest.approx(np.zeros(22), abs=1e-12)
    assert np.all(np.isclose(deviations, 1) | (deviations == 0))
    assert (deviations == 0).sum() < 22


def test_an_equal_mixture_lies_half_way_between_its_elements_and_the_scale_of_shares_does_not_matter():
    nickel, magnesium, mixture, scaled = embed_compositions(
        [{"Ni": 1.0}, {"Mg": 1.0}, {"Ni": 0.5, "Mg": 0.5}, {"Ni": 8, "Mg": 8, "Sr": 0}]
    )
    assert mixture == pytest.approx((nickel + magnesium) / 2, abs=1e-12)
    assert scaled == pytest.approx(mixture)
    assert not np.allclose(nickel, magnesium)


def test_an_element_without_a_vector_takes_no_part_and_alone_lies_at_the_mean():
    plain, mixed, unknown, empty, other = embed_compositions([{"Mg": 1}, {"Mg": 1, "Og": 1}, {"Og": 1}, {}, {"Ni": 1}])
    assert mixed == pytest.approx(plain)
    assert not unknown.any()
    assert not empty.any()
    assert np.isfinite(other).all()


@pytest.mark.parametrize("method", ["pca", "umap"])
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_small_datasets_have_finite_places(method, n):
    vectors = embed_compositions(draw_compositions(n))
    places = project(vectors, method, seed=0)
    assert vectors.shape == (n, 22)
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert len(np.unique(places.round(9), axis=0)) == n


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_equal_compositions_all_lie_at_the_origin(method):
    vectors = embed_compositions([{"Mg": 0.5, "Ni": 0.5}] * 20)
    assert not vectors.any()
    assert not project(vectors, method, seed=0).any()


def test_pca_of_points_on_a_line_is_that_line_and_nothing_across():
    steps = np.array([-2.0, -1.0, 0.0, 3.0])
    places = project(steps[:, None] * np.array([0.6, 0.0, 0.8]), "pca", seed=0)
    assert places == pytest.approx(np.column_stack([steps, np.zeros(4)]), abs=1e-12)


def test_pca_orders_directions_by_variance_and_fixes_their_signs():
    vectors = np.array([[0.0, -3.0], [0.0, 3.0], [1.0, 0.0], [-1.0, 0.0]])
    assert project(vectors, "pca", seed=0) == pytest.approx(vectors[:, ::-1], abs=1e-12)


def test_embedding_imports_no_umap():
    code = (
        "import sys; from heo_core.curation.embedding import embed_compositions, project;"
        "project(embed_compositions([{'Mg': 1}, {'Ni': 1}, {'Zn': 1}]), 'umap', 0);"
        "print([m for m in ('umap', 'sklearn', 'numba', 'torch') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_umap_repeats_for_a_seed_keeps_equal_rows_together_and_separates_clusters():
    pytest.importorskip("umap", reason="needs the extra heo[map]")
    rng = np.random.default_rng(1)
    vectors = np.concatenate([rng.normal(0, 1, (20, 6)), rng.normal(30, 1, (20, 6))])
    vectors[1] = vectors[0]
    places = project(vectors, "umap", seed=7)
    assert np.array_equal(places, project(vectors, "umap", seed=7))
    assert not np.array_equal(places, project(vectors, "umap", seed=8))
    assert np.array_equal(places[0], places[1])
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distances[:20, :20].max() < distances[:20, 20:].min()
