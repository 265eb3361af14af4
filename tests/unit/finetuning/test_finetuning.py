"""Finetuning: what MACE is told, what is read of it, and what happens when it fails or is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import numpy as np
import psutil
import pytest
import torch

from heo_core.assets import HEO_MINI_DIR
from heo_core.errors import InputError, TrainingError
from heo_core.finetuning.preparation import prepare_training
from heo_core.finetuning.run import _explain, clear_training, run_training
from heo_core.finetuning.strategy import LR, SMALL_MODEL_LR, choose_acceleration, choose_lr, make_mace_arguments
from heo_core.finetuning.training_log import TrainingLog, compute_score
from heo_core.finetuning.training_set import make_training_set, to_labelled_atoms, write_extxyz
from heo_core.models import describe, inspect_file, load_model, resolve_model
from heo_core.models.mace import load_module
from heo_core.params import FinetuneParams, ReplayParams
from heo_core.records import EpochMetrics, Structure

FOUNDATION = HEO_MINI_DIR / "heo-mini.model"


def make_structures(count: int, cation: str = "Ni") -> list[Structure]:
    rng = np.random.default_rng(0)
    ideal = np.array(
        [[0, 0, 0], [2.1, 2.1, 0], [2.1, 0, 2.1], [0, 2.1, 2.1], [2.1, 0, 0], [0, 2.1, 0], [0, 0, 2.1], [2.1, 2.1, 2.1]]
    )
    species = ("Mg", "Co", cation, "Zn", "O", "O", "O", "O")
    return [
        Structure(
            4.2 * np.eye(3),
            ideal + rng.normal(0, 0.05, (8, 3)),
            species,
            f"mp-{i}",
            "mp",
            "pbe",
            energy_ev=-45.0 + rng.normal(0, 0.1),
            forces_ev_per_ang=rng.normal(0, 0.2, (8, 3)),
        )
        for i in range(count)
    ]


def prepare(folder: Path, params: FinetuneParams, n_train: int = 6) -> None:
    foundation = resolve_model("heo-mini")
    training_set = make_training_set(make_structures(n_train), make_structures(2), foundation, params)
    prepare_training(training_set, [], params, foundation=foundation, folder=folder, device="cpu")


def train(folder: Path, params: FinetuneParams) -> list[EpochMetrics]:
    """Train to the end; return the epochs."""
    prepare(folder, params)
    result = run_training(
        params, foundation=folder / "foundation.model", folder=folder, device="cpu", on_epoch=lambda _: None
    )
    return list(result.epochs)


def test_structures_that_the_foundation_cannot_take_are_left_out_and_counted() -> None:
    foundation = resolve_model("heo-mini")
    good, unknown = make_structures(6), make_structures(2, cation="Pu")
    unlabelled = [replace(good[0], forces_ev_per_ang=None)]
    training_set = make_training_set([*good, *unknown], [*good[:2], *unlabelled], foundation, FinetuneParams())
    assert training_set.left_out == {"unlabelled": 1, "unknown_element": 2}
    assert len(training_set.train) == 6
    assert len(training_set.validation) == 2


def test_a_new_model_from_scratch_takes_every_element() -> None:
    foundation, unknown = resolve_model("heo-mini"), make_structures(6, cation="Pu")
    with pytest.raises(InputError, match="6 with an element that it does not know"):
        make_training_set(unknown, unknown, foundation, FinetuneParams())
    assert make_training_set(unknown, unknown, foundation, FinetuneParams(strategy="scratch")).left_out == {}


def test_an_unusable_split_and_a_batch_larger_than_it_are_refused() -> None:
    foundation, good = resolve_model("heo-mini"), make_structures(3)
    with pytest.raises(InputError, match="none of the 2 structures of the validation split"):
        make_training_set(good, make_structures(2, cation="Pu"), foundation, FinetuneParams(batch_size=2))
    with pytest.raises(InputError, match=r"batch_size is 4, but only 3 structures .* allowed: 1 to 3"):
        make_training_set(good, good, foundation, FinetuneParams(batch_size=4))


def test_stress_that_cannot_be_trusted_is_not_trained_on() -> None:
    foundation = resolve_model("heo-mini")
    params = FinetuneParams(stress_weight=10, batch_size=2)
    without = make_structures(4)
    with pytest.raises(InputError, match="no structure of the training split has a stress"):
        make_training_set(without, without, foundation, params)
    doubtful = [replace(s, stress_ev_per_ang3=np.eye(3)) for s in without]
    with pytest.raises(InputError, match="stress of the sources mp is confirmed neither in sign nor in unit"):
        make_training_set(doubtful, doubtful, foundation, params)
    own = [replace(s, source="own") for s in doubtful]
    assert len(make_training_set(own, own, foundation, params).train) == 4


def test_labels_and_weights_are_written_under_maces_keys(tmp_path: Path) -> None:
    structures = [replace(s, stress_ev_per_ang3=np.diag([0.1, 0.2, 0.3])) for s in make_structures(2)]
    write_extxyz(tmp_path / "x.extxyz", to_labelled_atoms(structures, weight=0.5, stress_weight=0.0, energies=False))
    atoms = ase.io.read(tmp_path / "x.extxyz", index=1)
    assert atoms.info["REF_energy"] == pytest.approx(structures[1].energy_ev)
    np.testing.assert_allclose(atoms.arrays["REF_forces"], structures[1].forces_ev_per_ang, atol=1e-7)
    np.testing.assert_allclose(atoms.info["REF_stress"], np.diag([0.1, 0.2, 0.3]))
    weights = {name: atoms.info[f"config_{name}_weight"] for name in ("energy", "forces", "stress")}
    assert weights == {"energy": 0.0, "forces": 0.5, "stress": 0.0}
    assert atoms.pbc.all()


STRATEGIES = (
    FinetuneParams(),
    FinetuneParams(replay=ReplayParams(multiheads_finetuning=True)),
    FinetuneParams(strategy="naive"),
    FinetuneParams(strategy="freeze", freeze=5),
    FinetuneParams(strategy="lora", lora_rank=2),
    FinetuneParams(strategy="scratch"),
)


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What MACE's own parser makes of the arguments of each of STRATEGIES."""
    folder = tmp_path_factory.mktemp("arguments")
    script = (
        "import sys, json; from mace.tools import build_default_arg_parser as b;"
        "print(json.dumps([{k: str(v) for k, v in vars(b().parse_args(a)).items()} for a in json.loads(sys.argv[1])]))"
    )
    arguments = [make_mace_arguments(p, foundation=FOUNDATION, folder=folder, device="cpu") for p in STRATEGIES]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def test_mace_understands_every_argument_and_none_of_its_traps_is_left_open(parsed: list[dict[str, str]]) -> None:
    replay, two_heads, naive, freeze, lora, scratch = parsed
    for arguments in (replay, naive, freeze, lora):
        assert arguments["multiheads_finetuning"] == "False"
        assert arguments["foundation_model_elements"] == "True"
        assert arguments["E0s"] == "foundation"  # those of another kind stand in the foundation's file
    assert all(arguments["ema"] == "True" for arguments in parsed)
    assert float(replay["lr"]) == SMALL_MODEL_LR
    assert two_heads["multiheads_finetuning"] == two_heads["force_mh_ft_lr"] == "True"
    assert two_heads["pt_train_file"].endswith("replay.extxyz")
    assert (freeze["freeze"], lora["lora"], lora["lora_rank"]) == ("5", "True", "2")
    assert scratch["foundation_model"] == "None"
    assert scratch["hidden_irreps"] == FinetuneParams().architecture.hidden_irreps


def test_naive_is_the_origins_recipe(parsed: list[dict[str, str]]) -> None:
    naive = parsed[2]
    assert (float(naive["lr"]), float(naive["lr_scheduler_gamma"])) == (1e-4, 1.0)
    assert (naive["max_num_epochs"], naive["batch_size"], naive["default_dtype"]) == ("10", "5", "float64")
    assert (float(naive["energy_weight"]), float(naive["forces_weight"])) == (1.0, 10.0)
    assert float(naive["stress_weight"]) == 0.0


def test_an_empty_field_means_the_strategys_and_a_given_one_stays() -> None:
    assert FinetuneParams(strategy="naive").resolve().E0s == "foundation"
    assert FinetuneParams(strategy="replay").resolve().E0s == "estimated"
    given = FinetuneParams(strategy="naive", max_num_epochs=3, ema=False).resolve()
    assert (given.max_num_epochs, given.ema, given.batch_size) == (3, False, 5)


def test_the_learning_rate_suits_the_foundation_unless_it_is_given(tmp_path: Path) -> None:
    large = tmp_path / "large.model"
    with large.open("wb") as stream:
        stream.truncate(30_000_000)
    assert choose_lr(FinetuneParams(), FOUNDATION) == SMALL_MODEL_LR
    assert choose_lr(FinetuneParams(max_num_epochs=2), FOUNDATION) == pytest.approx(0.002)
    assert choose_lr(FinetuneParams(), large) == choose_lr(FinetuneParams(max_num_epochs=2), large) == LR
    assert choose_lr(FinetuneParams(lr=0.002), FOUNDATION) == 0.002


def test_accelerated_kernels_are_refused_where_they_break() -> None:
    params = FinetuneParams(strategy="lora")
    with pytest.raises(InputError, match="cueq and strategy lora do not go together"):
        choose_acceleration("cueq", params, "cuda")
    with pytest.raises(InputError, match="HEO_ACCELERATION=oeq needs a CUDA device"):
        choose_acceleration("oeq", FinetuneParams(), "cpu")
    assert choose_acceleration("auto", params, "cuda") == "none"
    assert choose_acceleration("auto", FinetuneParams(), "cpu") == "none"


def evaluation(**fields: object) -> str:
    line = {"mode": "eval", "epoch": None, "head": "Default", "loss": 2.0, "rmse_e_per_atom": 0.1, "rmse_f": 0.3}
    return json.dumps(line | fields) + "\n"


def test_the_log_is_followed_line_by_line_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    log = TrainingLog(path)
    assert log.read_new() == []
    path.write_text(evaluation() + json.dumps({"mode": "opt", "loss": 1.0, "epoch": 0}) + '\n{"mode": "o')
    (before,) = log.read_new()
    assert (before.epoch, before.train_loss, before.forces_rmse_ev_per_ang) == (0, None, 0.3)
    with path.open("a") as stream:
        stream.write('pt", "loss": 3.0, "epoch": 0}\n' + evaluation(epoch=0, loss=1.5, lr=0.01, score=0.2))
    (first,) = log.read_new()
    assert (first.epoch, first.train_loss, first.validation_loss) == (1, 2.0, 1.5)
    assert (first.lr, first.score) == (0.01, 0.2)
    assert log.read_new() == []


def test_a_log_that_was_cut_is_read_again_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    batch = json.dumps({"mode": "opt", "loss": 5.0, "epoch": 0}) + "\n"
    path.write_text(evaluation() + batch)
    log = TrainingLog(path)
    assert [epoch.epoch for epoch in log.read_new()] == [0]
    # A new file with the kept line, which by the time of the next look is longer than the old one.
    (tmp_path / "new").write_text(evaluation() + batch.replace("5.0", "1.0") * 3 + evaluation(epoch=0))
    (tmp_path / "new").replace(path)
    again = log.read_new()
    assert [epoch.epoch for epoch in again] == [0, 1]
    assert again[1].train_loss == 1.0


def test_the_replayed_cells_head_is_told_from_the_finetuned_one(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(evaluation(epoch=0, head="pt_head", rmse_f=0.7) + evaluation(epoch=0, rmse_f=0.4))
    (epoch,) = TrainingLog(path).read_new()
    assert (epoch.forces_rmse_ev_per_ang, epoch.replay_forces_rmse_ev_per_ang) == (0.4, 0.7)


def test_the_score_is_made_of_absolute_errors_only() -> None:
    assert compute_score(0.1, 0.02) == pytest.approx(0.12)
    assert compute_score(0.1, None) == 0.1
    assert compute_score(None, None) is None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[EpochMetrics], dict[str, object]]:
    """Epochs and weights of KILLED's training when nobody kills it."""
    import torch

    folder = tmp_path_factory.mktemp("undisturbed")
    epochs = train(folder, KILLED)
    model = torch.load(folder / "finetuned.model", weights_only=False, map_location="cpu")
    return epochs, model.state_dict()


KILLED = FinetuneParams(max_num_epochs=4, batch_size=2, lr=1e-3, replay=ReplayParams(n_cells=4))


@pytest.mark.slow
def test_a_real_training_reports_each_epoch_and_keeps_every_element(
    undisturbed: tuple[list[EpochMetrics], dict[str, object]],
) -> None:
    import torch

    epochs, weights = undisturbed
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2, 3, 4]
    assert all(epoch.score is not None and epoch.seconds is not None and epoch.lr for epoch in epochs[1:])
    assert [epoch.lr for epoch in epochs[1:]] == pytest.approx([1e-3 * 0.03 ** (k / 3) for k in range(4)], rel=1e-4)
    parent = torch.load(FOUNDATION, weights_only=False, map_location="cpu").state_dict()
    assert weights["atomic_numbers"].tolist() == parent["atomic_numbers"].tolist()
    assert set(parent) <= set(weights)
    assert any(not torch.equal(parent[name], weights[name]) for name in parent)


def start(folder: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from heo_core.finetuning.run import run_training;"
        "from heo_core.params import FinetuneParams; folder = Path(sys.argv[1]);"
        "run_training(FinetuneParams.model_validate_json(sys.argv[2]), foundation=folder / 'foundation.model',"
        "folder=folder, device='cpu', on_epoch=lambda epoch: None)"
    )
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(folder), KILLED.model_dump_json()])


def wait_for(what: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not what.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    assert what.exists()


def kill(victim: psutil.Process, trainer: psutil.Process) -> None:
    victim.kill()
    gone, alive = psutil.wait_procs([trainer], timeout=30)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], gone


@pytest.mark.slow
def test_a_training_killed_at_three_moments_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, undisturbed: tuple[list[EpochMetrics], dict[str, object]]
) -> None:
    import torch

    prepare(tmp_path, KILLED)
    checkpoints = tmp_path / "checkpoints"
    # The flow's process while its trainer loads; the trainer after its first epoch; the flow's process in a later one.
    for moment, victim in (
        ("trainer.log", "parent"),
        ("checkpoints/epoch-0.pt", "trainer"),
        ("checkpoints/epoch-2.pt", "parent"),
    ):
        process = start(tmp_path)
        wait_for(tmp_path / moment, process)
        if moment == "trainer.log":
            time.sleep(1)
        (trainer,) = psutil.Process(process.pid).children()
        kill(psutil.Process(process.pid) if victim == "parent" else trainer, trainer)
        process.wait()
        (tmp_path / "trainer.log").unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in checkpoints.glob("epoch-*.pt")}
    assert "epoch-2.pt" in kept
    went_on = train(tmp_path, KILLED)
    epochs, weights = undisturbed
    assert [epoch.epoch for epoch in went_on] == [0, 1, 2, 3, 4]
    # It did go on: what was finished was not done again. (Of the last one the state may not have been kept.)
    now = {path.name: path.stat().st_mtime_ns for path in checkpoints.glob("epoch-*.pt")}
    assert all(now[name] == kept[name] for name in ("epoch-0.pt", "epoch-1.pt"))
    for again, once in zip(went_on, epochs, strict=True):
        assert replace(again, seconds=None) == replace(once, seconds=None)
    model = torch.load(tmp_path / "finetuned.model", weights_only=False, map_location="cpu")
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    clear_training(tmp_path, 2)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"epoch-1.pt", "last.pt"}


@pytest.mark.slow
def test_patience_ends_a_training_and_keeps_its_best_epoch(tmp_path: Path) -> None:
    # So large a learning rate makes every later epoch worse.
    params = FinetuneParams(
        strategy="naive", max_num_epochs=20, batch_size=2, lr=0.03, patience=2, ema=False, dtype="float32"
    )
    heard: list[EpochMetrics] = []
    prepare(tmp_path, params)
    result = run_training(
        params, foundation=tmp_path / "foundation.model", folder=tmp_path, device="cpu", on_epoch=heard.append
    )
    scores = {epoch.epoch: epoch.score for epoch in heard if epoch.epoch > 0}
    assert result.stop_reason == "patience"
    assert len(scores) < 20
    assert result.best_epoch == min(scores, key=lambda number: scores[number])
    assert max(scores) == result.best_epoch + 2
    # The model holds that epoch's weights: it scores the same by our own reckoning.
    potential = load_model(inspect_file(result.model_path), device="cpu", dtype="float32")
    validation = make_structures(2)
    predictions = potential.predict(validation)
    forces = np.concatenate(
        [p.forces_ev_per_ang - s.forces_ev_per_ang for p, s in zip(predictions, validation, strict=True)]
    )
    energies = [(p.energy_ev - s.energy_ev) / s.n_atoms for p, s in zip(predictions, validation, strict=True)]
    assert result.best_score == pytest.approx(np.abs(forces).mean() + np.abs(energies).mean(), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        FinetuneParams(replay=ReplayParams(multiheads_finetuning=True, n_cells=10)),
        FinetuneParams(strategy="freeze"),
        FinetuneParams(strategy="lora"),
        FinetuneParams(strategy="scratch", architecture={"hidden_irreps": "8x0e", "r_max": 3.0, "correlation": 2}),
    ],
    ids=["two heads", "freeze", "lora", "scratch"],
)
def test_every_strategy_ends_with_a_model_of_one_head_that_computes(tmp_path: Path, params: FinetuneParams) -> None:
    import torch

    params = params.model_copy(update={"max_num_epochs": 1, "batch_size": 2})
    heard = train(tmp_path, params)
    assert [epoch.epoch for epoch in heard] == [0, 1]
    assert (heard[-1].replay_forces_rmse_ev_per_ang is not None) == params.replay.multiheads_finetuning
    module = torch.load(tmp_path / "finetuned.model", weights_only=False, map_location="cpu")
    assert list(module.heads) == ["Default"]
    assert not [name for name in module.state_dict() if "lora" in name]
    if params.strategy == "freeze":
        parent = torch.load(FOUNDATION, weights_only=False, map_location="cpu").state_dict()
        frozen = [name for name in parent if name.startswith(("interactions", "node_embedding"))]
        assert frozen
        assert all(torch.equal(parent[name], module.state_dict()[name]) for name in frozen)
    if params.strategy != "scratch":
        # The E0s that were fitted before the training are those of the finished model.
        fitted = describe(inspect_file(tmp_path / "foundation.model"))["e0s"]
        assert fitted != describe(resolve_model("heo-mini"))["e0s"]
        assert describe(inspect_file(tmp_path / "finetuned.model"))["e0s"] == pytest.approx(fitted, abs=1e-5)
    potential = load_model(inspect_file(tmp_path / "finetuned.model"), device="cpu", dtype="float32")
    (prediction,) = potential.predict(make_structures(1))
    assert prediction.failure is None


def test_a_trainer_that_fails_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    params = FinetuneParams(batch_size=2, strategy="naive")
    prepare(tmp_path, params)
    (tmp_path / "foundation.model").write_text("no model")
    with pytest.raises(TrainingError, match=r"(?s)exit code 1; the end of its log:.*Error"):
        run_training(
            params, foundation=tmp_path / "foundation.model", folder=tmp_path, device="cpu", on_epoch=lambda _: None
        )


def test_what_torch_says_when_memory_ends_is_told_as_that() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert _explain(1, str(caught.value)) == "the trainer ran out of memory: try a smaller batch_size"
    assert _explain(1, "KeyError: 'forces'") == "the trainer ended with exit code 1"


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    params = FinetuneParams(strategy="naive", batch_size=2, lr=1e30, ema=False, max_num_epochs=3)
    prepare(tmp_path, params)
    with pytest.raises(TrainingError, match=r"no longer a number at epoch 1|diverges: after epoch 1"):
        run_training(
            params, foundation=tmp_path / "foundation.model", folder=tmp_path, device="cpu", on_epoch=lambda _: None
        )
    assert not (tmp_path / "finetuned.model").exists()


def test_the_trainer_ends_when_its_parent_is_killed() -> None:
    # A stand-in for the flow process starts the trainer's watchdog in a child, tells us its pid, and is killed.
    child = "import time; from heo_core.finetuning.trainer import end_with_parent; end_with_parent(); time.sleep(60)"
    parent = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(1)
    assert psutil.pid_exists(pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid)


def test_a_training_on_a_cpu_has_the_compiled_convolution_until_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heo_core.finetuning import resumable

    module = load_module(resolve_model("heo-mini"), "cpu")
    convolutions = [interaction.conv_tp for interaction in module.interactions]
    seen = []

    def run_loop(**arguments: Any) -> None:
        seen.extend(hasattr(interaction, "conv_fusion") for interaction in arguments["model"].interactions)
        raise resumable.PatienceExhaustedError

    monkeypatch.setattr(resumable.tools, "train", run_loop)
    handler = SimpleNamespace(restore=lambda _: 0, is_exhausted=False, best=(0.1, 0))
    train = resumable.make_loop(tmp_path)
    for device in ("cpu", "cuda"):
        train(
            model=module,
            device=torch.device(device),
            checkpoint_handler=handler,
            logger=SimpleNamespace(),
            optimizer=None,
            max_num_epochs=1,
        )
    assert seen == [True, True, False, False]
    assert not any("forward" in vars(convolution) for convolution in convolutions)
