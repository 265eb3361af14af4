"""Laws of inspecting a user's model file: a MACE model is taken, all else refused, and nothing in it runs."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
import torch.fx.graph_module

from heo_core.errors import ModelError
from heo_core.models import describe, inspect_file, resolve_model

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
