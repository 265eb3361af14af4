"""Laws of inspecting a user's model file: a MACE model is taken, all else refused, and nothing in it runs."""

import io
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.fx.graph_module
from random_mace import OPTIONS, TWO_HEADS, make_mace

from heo_core.errors import ModelError
from heo_core.models import describe, inspect_file, load, resolve_model
from heo_core.models import mace as mace_family  # first: with it torch reads e3nn's constants
from heo_core.records import Structure

BUNDLED = Path(__file__).parents[3] / "heo_core/assets/heo-mini/heo-mini.model"


class RunsACommand:
    """What a stranger may plant: unpickling it runs a command that leaves a file behind."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class HoldsSource:
    """A traced module, as MACE's files hold them, with source and imports of its own."""

    def __init__(self, source, imports="import torch"):
        self.body = {"_code": f"\n{source}"}
        self.imports = imports

    def __reduce__(self):
        return torch.fx.graph_module.reduce_graph_module, (self.body, self.imports)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it-ran"


def test_a_mace_file_is_taken_with_its_hash_and_elements(tmp_path):
    copy = tmp_path / "mine.model"
    copy.write_bytes(BUNDLED.read_bytes())
    model, bundled = inspect_file(copy), resolve_model("heo-mini")
    assert (model.family, model.reference, model.path) == ("mace", f"file:{copy}", str(copy))
    assert (model.sha256, model.elements) == (bundled.sha256, bundled.elements)
    assert describe(model) == describe(bundled)
    assert resolve_model(f"file:{copy}") == model


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a torch archive"),
        (b"not a model", "not a torch archive"),
        (pickle.dumps({"weights": 1}), "not a torch archive"),
        (b"PK\x03\x04 and then nothing", "not a MACE model"),
    ],
)
def test_what_is_no_torch_archive_is_refused(tmp_path, content, reason):
    path = tmp_path / "x.model"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"x.model is not a MACE model: .*{reason}|{reason}"):
        inspect_file(path)


def test_a_path_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "absent.model", tmp_path, "nul\0byte.model"):
        with pytest.raises(ModelError, match="cannot be read"):
            inspect_file(path)


def test_a_zip_without_torchs_pickle_is_refused(tmp_path):
    path = tmp_path / "x.model"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ModelError, match=r"zip archive without torch's data\.pkl"):
        inspect_file(path)


def test_weights_or_another_network_are_no_mace_model(tmp_path):
    network = torch.nn.Linear(2, 2)
    for content, reason in (
        (network.state_dict(), "weights without the model"),
        (network, "Linear without atomic_numbers"),
    ):
        torch.save(content, tmp_path / "x.model")
        with pytest.raises(ModelError, match=reason):
            inspect_file(tmp_path / "x.model")


def test_a_compiled_model_is_refused_by_that_name(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.model"))
    with pytest.raises(ModelError, match="compiled TorchScript model"):
        inspect_file(tmp_path / "x.model")


def test_a_model_whose_numbers_are_not_finite_is_refused(tmp_path):
    module = torch.load(BUNDLED, weights_only=False)
    with torch.no_grad():
        next(module.readouts.parameters()).fill_(float("nan"))
    torch.save(module, tmp_path / "x.model")
    with pytest.raises(ModelError, match=r"does not compute.*not finite"):
        inspect_file(tmp_path / "x.model")


@pytest.mark.parametrize("protocol", [2, 4])  # they write the name of what they call in different ways
def test_a_planted_command_does_not_run(tmp_path, marker, protocol):
    torch.save(RunsACommand(marker), tmp_path / "x.model", pickle_protocol=protocol)
    with pytest.raises(ModelError, match=r"(posix|nt|os)\.system"):
        inspect_file(tmp_path / "x.model")
    assert not marker.exists()


def test_a_command_hidden_in_a_real_model_does_not_run(tmp_path, marker):
    module = torch.load(BUNDLED, weights_only=False)
    module.note = RunsACommand(marker)
    torch.save(module, tmp_path / "x.model")
    with pytest.raises(ModelError, match="system"):
        inspect_file(tmp_path / "x.model")
    assert not marker.exists()


def test_a_command_before_the_archive_does_not_run(tmp_path, marker):
    # Python's zipfile reads from the end and sees an archive; torch reads from the start and would run the pickle.
    path = tmp_path / "x.model"
    path.write_bytes(pickle.dumps(RunsACommand(marker)) + BUNDLED.read_bytes())
    assert zipfile.is_zipfile(path)
    with pytest.raises(ModelError, match="not a torch archive"):
        inspect_file(path)
    assert not marker.exists()


def test_a_file_within_the_file_does_not_run(tmp_path, marker):
    inner = io.BytesIO()
    torch.save(RunsACommand(marker), inner)

    class LoadsInner:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    torch.save(LoadsInner(), tmp_path / "x.model")
    with pytest.raises(ModelError, match="_load_from_bytes"):
        inspect_file(tmp_path / "x.model")
    assert not marker.exists()


@pytest.mark.parametrize(
    "source",
    [
        "def forward(self, x):\n    __import__('os').system('touch {marker}')\n",
        "def forward(self, x=open('{marker}', 'w')):\n    return x\n",
        "def forward(self, x: open('{marker}', 'w')):\n    return x\n",
        "def forward(self, x):\n    return torch.hub.load('{marker}', 'x')\n",
        "@print\ndef forward(self, x):\n    return x\n",
        "open('{marker}', 'w')\ndef forward(self, x):\n    return x\n",
        "class forward:\n    x = 1\n",
        "def forward(self, x):\n    return [y for y in x]\n",
        "def forward(self, x):\n    @print\n    def f(): return x\n    return x\n",
        "def forward(self, x):\n    torch.load = x\n    return x\n",
        "def forward(self, x:\n",
    ],
)
def test_source_that_is_no_tensor_contraction_does_not_run(tmp_path, marker, source):
    torch.save(HoldsSource(source.format(marker=marker)), tmp_path / "x.model")
    with pytest.raises(ModelError, match="Python source"):
        inspect_file(tmp_path / "x.model")
    assert not marker.exists()


def test_an_import_that_torch_does_not_write_does_not_run(tmp_path, marker):
    imports = f"import torch\nopen('{marker}', 'w')"
    torch.save(HoldsSource("def forward(self, x):\n    return x\n", imports), tmp_path / "x.model")
    with pytest.raises(ModelError, match="Python source"):
        inspect_file(tmp_path / "x.model")
    assert not marker.exists()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_models_that_mace_makes_are_taken(tmp_path, options, dtype):
    with mace_family._default_dtype(dtype):
        torch.save(make_mace(**OPTIONS[options]()), tmp_path / "x.model")
    model = inspect_file(tmp_path / "x.model")
    facts = describe(model)
    assert (facts["elements"], facts["dtype"], facts["r_max_ang"]) == (["O", "Mg", "Ni"], dtype, 4.5)


def test_a_model_whose_lora_layers_were_merged_is_taken(tmp_path):
    from mace.modules.lora import inject_lora, merge_lora_weights

    module = make_mace()
    with warnings.catch_warnings(action="ignore"):
        inject_lora(module, rank=2, alpha=1)
        merge_lora_weights(module)
    torch.save(module, tmp_path / "x.model")
    assert inspect_file(tmp_path / "x.model").elements == ("O", "Mg", "Ni")


def test_of_two_heads_the_default_one_computes_wherever_the_model_is_used(tmp_path):
    path = tmp_path / "x.model"
    torch.save(make_mace(**TWO_HEADS, heads=["pt_head", "Default"]), path)
    model = inspect_file(path)
    facts = describe(model)
    assert facts["heads"] == ["pt_head", "Default"]
    assert facts["e0s"] == {"O": -1.5, "Mg": -2.5, "Ni": -3.5}
    potential = load(f"file:{path}", device="cpu")
    lonely = Structure(30 * np.eye(3), np.zeros((1, 3)), ("Ni",), immutable_id="x", source="x")
    (prediction,) = potential.predict([lonely])
    from ase import Atoms

    atoms = Atoms("Ni", cell=lonely.lattice, pbc=True)
    atoms.calc = potential.as_ase_calculator()
    assert atoms.get_potential_energy() == pytest.approx(prediction.energy_ev, abs=1e-9)
    other = load(model, device="cpu").as_ase_calculator()
    other.head = "pt_head"
    atoms.calc = other
    assert abs(atoms.get_potential_energy() - prediction.energy_ev) > 0.1


def test_heads_none_of_which_is_the_default_are_named(tmp_path):
    torch.save(make_mace(**TWO_HEADS, heads=["omat", "matpes"]), tmp_path / "x.model")
    with pytest.raises(ModelError, match=r"heads omat, matpes, and none is called Default.*mace_select_head"):
        inspect_file(tmp_path / "x.model")


def test_the_facts_of_a_file_are_those_it_was_made_with(tmp_path):
    module = make_mace()
    torch.save(module, tmp_path / "x.model")
    assert describe(inspect_file(tmp_path / "x.model")) == {
        "n_parameters": sum(parameter.numel() for parameter in module.parameters()),
        "elements": ["O", "Mg", "Ni"],
        "r_max_ang": 4.5,
        "dtype": "float32",
        "e0s": {"O": -1.0, "Mg": -2.0, "Ni": -3.0},
        "heads": ["Default"],
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda module: module.atomic_numbers.copy_(torch.tensor([8, 12, 0])), r"atomic_numbers \[0\] are no elements"),
        (lambda module: module.atomic_numbers.copy_(torch.tensor([8, 12, 500])), r"\[500\] are no elements"),
        (
            lambda module: module.atomic_numbers.copy_(torch.tensor([8, 12, 12])),
            "3 atomic_numbers, 2 of them different",
        ),
        (lambda module: setattr(module, "atomic_numbers", torch.tensor([8, 12])), "and E0s for 3 elements"),
        (lambda module: setattr(module, "atomic_numbers", torch.tensor([])), "0 atomic_numbers"),
        (lambda module: module.r_max.fill_(0.0), "r_max is 0"),
        (lambda module: module.r_max.fill_(float("nan")), "r_max is nan"),
        (lambda module: module.r_max.fill_(1e9), r"r_max is 1e\+09"),
        (lambda module: module.atomic_energies_fn.atomic_energies[1].fill_(float("inf")), "E0s are not finite"),
        (
            lambda module: module.interactions[0].linear_up.weight.data[:1].fill_(float("nan")),
            "linear_up.weight are not",
        ),
        (lambda module: module.scale_shift.scale.fill_(float("nan")), "not finite numbers on a cell of two atoms"),
        (lambda module: delattr(module, "spherical_harmonics"), "does not compute: .*spherical_harmonics"),
        (lambda module: delattr(module, "atomic_energies_fn"), "ScaleShiftMACE without atomic_energies_fn"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused_in_one_line(tmp_path, change, reason):
    module = make_mace()
    change(module)
    torch.save(module, tmp_path / "x.model")
    with pytest.raises(ModelError, match=reason) as raised:
        inspect_file(tmp_path / "x.model")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, kept):
    content = BUNDLED.read_bytes()
    (tmp_path / "x.model").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ModelError, match=r"x\.model is not a MACE model") as raised:
        inspect_file(tmp_path / "x.model")
    assert "\n" not in str(raised.value)


def test_a_zip_that_unfolds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.model", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\0" * 50_000_000)
    with pytest.raises(ModelError, match="compressed archive"):
        inspect_file(tmp_path / "x.model")


def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.model", "w") as archive:
        # "Remember this object as number 2**31": the table would take 32 GB.
        archive.writestr("model/data.pkl", b"\x80\x02}r" + (2**31).to_bytes(4, "little") + b".")
        archive.writestr("model/version", "3")
    with pytest.raises(ModelError, match="numbers an object 2147483648"):
        inspect_file(tmp_path / "x.model")


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "x.model").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ModelError, match=r"has 1099\.5 GB; at most"):
        inspect_file(tmp_path / "x.model")


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path):
    loop, pipe = tmp_path / "loop.model", tmp_path / "pipe.model"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path, reason in ((loop, "symbolic links"), (pipe, "no file but"), (Path("/dev/zero"), "no file but")):
        with pytest.raises(ModelError, match=f"cannot be read.*{reason}"):
            inspect_file(path)


def test_a_name_that_would_break_a_line_is_refused_in_one_line(tmp_path):
    for name in ("two\nlines.model", "\x1b[31mred.model", os.fsdecode(b"\xff.model")):
        path = tmp_path / name
        path.write_bytes(BUNDLED.read_bytes())
        with pytest.raises(ModelError, match="rename it") as raised:
            inspect_file(path)
        assert str(raised.value).isprintable()


def test_a_name_with_spaces_quotes_and_other_alphabets_is_taken(tmp_path):
    path = tmp_path / "mein 'Modell' \"α\"; $(x) #1%20.model"
    path.write_bytes(BUNDLED.read_bytes())
    assert resolve_model(f"file:{path}").path == str(path)
