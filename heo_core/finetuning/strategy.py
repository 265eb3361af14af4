"""From our parameters to the arguments of `mace_run_train`; every default of MACE's that would surprise is set here."""

from __future__ import annotations

from pathlib import Path

from heo_core.params import FinetuneParams

MODEL_NAME = "finetuned"

# A small model bears, and needs, a far larger learning rate than MACE-MP-0: measured on the bundled sample.
LR, SMALL_MODEL_LR = 1e-4, 5e-3
SMALL_MODEL_BYTES = 4_000_000


def choose_lr(params: FinetuneParams, foundation: Path) -> float:
    """Learning rate to start with: the one asked for, else one that suits the size of the foundation's file."""
    if params.lr is not None:
        return params.lr
    return SMALL_MODEL_LR if foundation.stat().st_size < SMALL_MODEL_BYTES else LR


def make_mace_arguments(params: FinetuneParams, *, foundation: Path, folder: Path, device: str) -> list[str]:
    """Arguments for finetuning `foundation` on folder/train.extxyz, judged by folder/validation.extxyz."""
    places: dict[str, object] = {
        "foundation_model": foundation,
        "train_file": folder / "train.extxyz",
        "valid_file": folder / "validation.extxyz",
        "work_dir": folder,
        "device": device,
    }
    return [*(f"--{name}={value}" for name, value in places.items()), *make_recipe(params, foundation)]


def make_recipe(params: FinetuneParams, foundation: Path) -> list[str]:
    """Arguments that decide what model comes out, on whatever machine and in whatever folder."""
    options: dict[str, object] = {
        "name": MODEL_NAME,
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        # MACE's default is a multihead replay that needs a download.
        "multiheads_finetuning": False,
        # MACE's default drops the elements that the training data lack: the model could then not run on new cations.
        "foundation_model_elements": True,
        "E0s": "foundation",
        "lr": choose_lr(params, foundation),
        # A finetuning is short: its last epoch has a twentieth of the first one's learning rate, so that it settles.
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": round(0.05 ** (1 / max(params.max_num_epochs - 1, 1)), 6),
        "max_num_epochs": params.max_num_epochs,
        "batch_size": params.batch_size,
        "valid_batch_size": params.batch_size,
        "loss": params.loss,
        "energy_weight": params.energy_weight,
        "forces_weight": params.forces_weight,
        # LeMat's stress is confirmed neither in sign nor in unit.
        "stress_weight": 0.0,
        "default_dtype": params.dtype,
        "seed": params.seed,
        "error_table": "PerAtomMAE",
        "eval_interval": 1,
        "num_workers": 0,
        "plot": False,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    if params.ema:
        arguments += ["--ema", f"--ema_decay={params.ema_decay}"]
    return [*arguments, "--save_cpu"]
