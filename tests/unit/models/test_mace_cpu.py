"""Laws of MACE on a CPU: it computes what MACE's own layers compute."""

import copy
import shutil

import numba
import numpy as np
import pytest
import torch
from ase.build import bulk
from random_mace import OPTIONS, find_blocks, make_mace

from heo_core.models import mace as mace_family
from heo_core.models import mace_cpu, resolve_model
from heo_core.models.mace import load_module, make_ase_calculator
from heo_core.models.mace_cpu import FoldedContraction, FusedConvolution, fused_convolutions, use_cpu_layers

ALLOWED = {"float32": 2e-5, "float64": 1e-12}
MORE_OPTIONS = OPTIONS | {
    "no residuals": lambda: find_blocks("Density", "Density"),
    "products of two features": lambda: {"correlation": 2},
}
del MORE_OPTIONS["chebyshev basis"]  # with random weights its forces are 1e48 eV/Å


def make_atoms(n=1, scale=1.0):
    """Rock salt of 16 atoms and three elements, sheared and rattled, n times."""
    atoms = bulk("MgO", "rocksalt", 4.2 * scale, cubic=True) * (2, 1, 1)
    atoms.symbols[0] = "Ni"
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.01 * np.arange(9).reshape(3, 3)), scale_atoms=True)
    atoms *= (n, 1, 1)
    atoms.rattle(0.1, seed=1)
    return atoms


def compute(module, dtype, atoms):
    calculator = make_ase_calculator(module, device="cpu", dtype=dtype, where="x")
    calculator.calculate(atoms, ["energy", "forces", "stress"])
    return [np.array(calculator.results[name]) for name in ("energy", "forces", "stress")]


def assert_same(one, other, allowed):
    for mine, theirs in zip(one, other, strict=True):
        assert np.isfinite(theirs).all()
        assert np.ptp(theirs) > 1e-4 or theirs.ndim == 0
        np.testing.assert_allclose(mine, theirs, rtol=allowed, atol=allowed)


@pytest.mark.parametrize("options", MORE_OPTIONS)
@pytest.mark.parametrize("dtype", ALLOWED)
def test_all_kinds_of_mace_predict_what_they_did(options, dtype):
    with mace_family._default_dtype(dtype):
        theirs = make_mace(**MORE_OPTIONS[options]())
    ours = copy.deepcopy(theirs)
    use_cpu_layers(ours)
    assert all(isinstance(interaction.conv_tp, FusedConvolution) for interaction in ours.interactions)
    is_folded = [isinstance(product.symmetric_contractions, FoldedContraction) for product in ours.products]
    assert is_folded == [options != "products of two features"] * 2
    for atoms in (make_atoms(), make_atoms(2, scale=0.9)):
        assert_same(compute(ours, dtype, atoms), compute(theirs, dtype, atoms), ALLOWED[dtype])


def test_heo_mini_whose_constants_are_in_single_precision_predicts_what_it_did():
    model = resolve_model("heo-mini")
    theirs, ours = load_module(model, "cpu").double(), load_module(model, "cpu").double()
    use_cpu_layers(ours)
    atoms = make_atoms()
    assert_same(compute(ours, "float64", atoms), compute(theirs, "float64", atoms), 1e-12)


def differentiate_loss(module, dtype):
    """Derivatives of a loss on energy, forces and stress by all weights."""
    calculator = make_ase_calculator(copy.deepcopy(module), device="cpu", dtype=dtype, where="x")
    batch = calculator._atoms_to_batch(make_atoms()).to_dict()
    for weights in module.parameters():
        weights.requires_grad_(True)
        weights.grad = None
    result = module(batch, training=True, compute_stress=True)
    (result["energy"].sum() + result["forces"].pow(2).sum() + result["stress"].pow(2).sum()).backward()
    return {name: np.zeros(1) if w.grad is None else w.grad.numpy() for name, w in module.named_parameters()}


@pytest.mark.parametrize("options", MORE_OPTIONS)
@pytest.mark.parametrize("dtype", ALLOWED)
def test_all_kinds_of_mace_learn_what_they_did(options, dtype):
    with mace_family._default_dtype(dtype):
        module = make_mace(**MORE_OPTIONS[options]())
        kept = set(module.state_dict())
        theirs = differentiate_loss(module, dtype)
        with fused_convolutions(module):
            assert all(interaction.conv_fusion for interaction in module.interactions)
            assert set(module.state_dict()) == kept
            ours = differentiate_loss(module, dtype)
        again = differentiate_loss(module, dtype)
    assert sum(np.abs(gradient).max() > 0 for gradient in theirs.values()) > 15
    for name, gradient in theirs.items():
        allowed = ALLOWED[dtype] * max(1.0, np.abs(gradient).max())
        np.testing.assert_allclose(ours[name], gradient, rtol=0, atol=allowed, err_msg=name)
        np.testing.assert_array_equal(again[name], gradient)


def test_the_edges_may_be_shared_by_threads(monkeypatch):
    with mace_family._default_dtype("float64"):
        module = make_mace()
    use_cpu_layers(module)
    atoms = make_atoms()
    alone = compute(module, "float64", atoms)
    monkeypatch.setattr(mace_cpu, "_FEWEST_EDGES_PER_THREAD", 10)
    pieces = []
    monkeypatch.setattr(mace_cpu.torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(mace_cpu, "_threads", lambda: _Threads(pieces))
    assert_same(compute(module, "float64", atoms), alone, 1e-12)
    assert len(pieces) == 12  # forwards and backwards, of two layers


class _Threads(mace_cpu.ThreadPoolExecutor):
    def __init__(self, pieces):
        super().__init__(3)
        self.pieces = pieces

    def map(self, function, slices):
        self.pieces += slices
        return super().map(function, slices)


def test_elements_that_find_no_room_are_folded_again(monkeypatch):
    with mace_family._default_dtype("float64"):
        theirs = make_mace()
    ours = copy.deepcopy(theirs)
    use_cpu_layers(ours)
    monkeypatch.setattr(mace_cpu, "_FOLDED_BYTES", 0)
    for _ in range(2):
        assert_same(compute(ours, "float64", make_atoms()), compute(theirs, "float64", make_atoms()), 1e-12)
        assert [len(product.symmetric_contractions._folded) for product in ours.products] == [1, 1]


def test_a_position_that_is_no_number_gives_no_numbers():
    with mace_family._default_dtype("float64"):
        module = make_mace()
    use_cpu_layers(module)
    conv = module.interactions[1].conv_tp
    n_in, n_sh = sum(conv._in_dims) * conv.n_channels, sum(conv._sh_dims)
    harmonics = torch.ones(2, n_sh, dtype=torch.float64)
    harmonics[0, 0] = float("nan")
    messages = conv(
        torch.ones(2, n_in, dtype=torch.float64),
        harmonics,
        torch.ones(2, len(conv._paths) * conv.n_channels, dtype=torch.float64),
        torch.tensor([[0, 1], [1, 0]]),
    )
    assert messages[1].isnan().any()
    assert not messages[0].isnan().any()


def test_layers_of_another_kind_stay_as_they_are():
    with mace_family._default_dtype("float64"):
        module = make_mace()
    contraction, convolution = module.products[0].symmetric_contractions, module.interactions[0].conv_tp
    convolution.internal_weights = True
    contraction.contractions[0].correlation = 1
    use_cpu_layers(module)
    assert module.interactions[0].conv_tp is convolution
    assert not hasattr(module.interactions[0], "conv_fusion")
    assert module.products[0].symmetric_contractions is contraction


def test_a_loop_computes_whatever_became_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    loop = mace_cpu._compile(add)
    for dtype in ("float32", "float64"):
        assert_adds(loop, dtype)
    single, double = sorted(tmp_path.rglob("*.nbc"))
    kept = single.read_bytes(), double.read_bytes()
    for contents in (kept[::-1], (b"", b""), (b"not a pickle",) * 2):  # of the other precision, cut off, damaged
        single.write_bytes(contents[0])
        double.write_bytes(contents[1])
        assert_adds(mace_cpu._compile(add), "float32")


def test_a_loop_computes_where_it_cannot_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    loop = mace_cpu._compile(add)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").touch()  # an OSError, as on a full disk, also for root
    assert_adds(loop, "float64")


def add(numbers, total):
    for number in numbers:
        total[0] += number


def assert_adds(loop, dtype):
    total = np.zeros(1, dtype)
    loop(np.arange(4, dtype=dtype), total)
    assert total[0] == 6


def rows_of(n_columns):
    """Layers that make one row of the numbers they are given."""
    nn = torch.nn
    return nn.Flatten(0), nn.Unflatten(0, (1, -1)), nn.AdaptiveMaxPool1d(n_columns)


def too_few_weights(interaction):
    n_columns = interaction.conv_tp.weight_numel
    interaction.conv_tp_weights = torch.nn.Sequential(torch.nn.Linear(8, 1), *rows_of(n_columns))


def too_few_nodes(interaction):
    interaction.linear_up = torch.nn.Sequential(*rows_of(32))


def more_channels(interaction):
    interaction.linear_up = torch.nn.Linear(32, 64)


def path_outside(interaction):
    product = interaction.conv_tp
    product.instructions = [path._replace(i_in1=-1) for path in product.instructions]


@pytest.mark.parametrize("harm", [too_few_weights, too_few_nodes, more_channels, path_outside])
def test_layers_that_do_not_fit_together_are_an_error_and_no_crash(harm):
    with mace_family._default_dtype("float64"):
        module = make_mace()
        harm(module.interactions[1])
    with pytest.raises(ValueError, match="a tensor product"):
        compute_with_cpu_layers(module)


def compute_with_cpu_layers(module):
    use_cpu_layers(module)
    return compute(module, "float64", make_atoms())


@pytest.mark.parametrize("irreps", ["8x3000e", "100000000x0e"])
def test_shapes_that_fill_the_memory_leave_a_layer_as_it_is(irreps):
    with mace_family._default_dtype("float64"):
        module = make_mace()
    product = module.interactions[1].conv_tp
    product.irreps_in1 = type(product.irreps_in1)(irreps)
    product.irreps_out = type(product.irreps_in1)([(product.irreps_in1[0].mul, ir) for _, ir in product.irreps_out])
    use_cpu_layers(module)
    assert module.interactions[1].conv_tp is product
