"""From our parameters to the arguments of `mace_run_train`; every default of MACE's that would surprise is set here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from heo_core.errors import InputError
from heo_core.params import FinetuneParams

MODEL_NAME = "finetuned"

# A small model bears, and needs, a far larger learning rate than MACE-MP-0: docs/finetuning.md has what it does.
# What a large one undoes off equilibrium takes passes to mend: after two on the sample, the force error there was 14 %
# above the parent's from 1e-2, and 1 % from 2e-3.
LR, SMALL_MODEL_LR, SMALL_MODEL_LR_PER_EPOCH = 1e-4, 1e-2, 1e-3
SMALL_MODEL_BYTES = 4_000_000

Acceleration = Literal["none", "cueq", "oeq"]


def choose_lr(params: FinetuneParams, foundation: Path) -> float:
    """Learning rate to start with: the one asked for, else one that suits the foundation's file and the passes."""
    params = params.resolve()
    if params.lr is not None:
        return params.lr
    if foundation.stat().st_size >= SMALL_MODEL_BYTES:
        return LR
    return min(SMALL_MODEL_LR, SMALL_MODEL_LR_PER_EPOCH * (params.max_num_epochs or 1))


def choose_acceleration(
    wanted: Literal["auto", "none", "cueq", "oeq"], params: FinetuneParams, device: str
) -> Acceleration:
    """Return the equivariant kernels to train with; auto takes cuEquivariance, then OpenEquivariance, where they serve.

    InputError for kernels that the strategy or the device does not bear, or whose package is absent.
    """
    packages: dict[Acceleration, str] = {"cueq": "cuequivariance_torch", "oeq": "openequivariance"}
    if wanted == "auto":
        bears = device == "cuda" and params.strategy != "lora"
        return next((kind for kind, package in packages.items() if bears and find_spec(package)), "none")
    if wanted == "none":
        return "none"
    if params.strategy == "lora":
        raise InputError(
            f"HEO_ACCELERATION={wanted} and strategy lora do not go together: MACE may save the model without the "
            "additions merged; allowed: auto, none"
        )
    if device != "cuda":
        raise InputError(
            f"HEO_ACCELERATION={wanted} needs a CUDA device, and the training runs on {device}; allowed: auto, none"
        )
    if not find_spec(packages[wanted]):
        raise InputError(f"HEO_ACCELERATION={wanted} needs the package {packages[wanted]}, which is not installed")
    return wanted


def make_mace_arguments(
    params: FinetuneParams, *, foundation: Path, folder: Path, device: str, acceleration: Acceleration = "none"
) -> list[str]:
    """Arguments for training on folder/train.extxyz, judged by folder/validation.extxyz.

    foundation: the model file to start from; strategy scratch does not read it. With multihead replay the replayed
    cells are folder/replay.extxyz and folder/replay-validation.extxyz.
    """
    places: dict[str, object] = {
        "train_file": folder / "train.extxyz",
        "valid_file": folder / "validation.extxyz",
        "work_dir": folder,
        "device": device,
    }
    if params.strategy != "scratch":
        places["foundation_model"] = foundation
    if uses_two_heads(params):
        places |= {"pt_train_file": folder / "replay.extxyz", "pt_valid_file": folder / "replay-validation.extxyz"}
    if acceleration != "none":
        places[f"enable_{acceleration}"] = True
    return [*(f"--{name}={value}" for name, value in places.items()), *make_recipe(params, foundation)]


def uses_two_heads(params: FinetuneParams) -> bool:
    """Whether the replayed cells get an output head of their own."""
    return params.strategy == "replay" and params.replay.multiheads_finetuning


def compute_stress_weight(params: FinetuneParams) -> float:
    """Weight of the stress in the loss of the run: the dataset's or that of the replayed cells, whichever is larger."""
    return max(params.stress_weight, params.replay.stress_weight if params.strategy == "replay" else 0.0)


def make_recipe(params: FinetuneParams, foundation: Path) -> list[str]:
    """Arguments that decide what model comes out, on whatever machine and in whatever folder."""
    params = params.resolve()
    epochs, final = params.max_num_epochs or 1, params.lr_final_fraction or 1.0
    options: dict[str, object] = {
        "name": MODEL_NAME,
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "stress_key": "REF_stress",
        # MACE's default is a multihead replay that needs a download.
        "multiheads_finetuning": uses_two_heads(params),
        "lr": choose_lr(params, foundation),
        # A finetuning is short: the learning rate falls over its epochs, so that it settles.
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": round(final ** (1 / max(epochs - 1, 1)), 6),
        "max_num_epochs": epochs,
        "batch_size": params.batch_size,
        "valid_batch_size": params.batch_size,
        # MACE's weighted loss has no stress in it; its name for the one that has is stress.
        "loss": "stress" if params.loss == "weighted" and compute_stress_weight(params) > 0 else params.loss,
        "energy_weight": params.energy_weight,
        "forces_weight": params.forces_weight,
        "stress_weight": compute_stress_weight(params),
        "default_dtype": params.dtype,
        "seed": params.seed,
        "error_table": "PerAtomMAE",
        "eval_interval": 1,
        "num_workers": 0,
        "plot": False,
        # We compute the errors of the finished model ourselves.
        "skip_evaluate_heads": "Default,pt_head",
        # Ours ends a run; MACE's would not, and must not take part.
        "patience": 1_000_000,
    }
    if compute_stress_weight(params) > 0:
        options["compute_stress"] = True
    arguments = [f"--{name}={value}" for name, value in (options | _make_strategy_options(params)).items()]
    if params.ema:
        arguments += ["--ema", f"--ema_decay={params.ema_decay}"]
    return [*arguments, "--save_cpu", "--save_all_checkpoints"]


def _make_strategy_options(params: FinetuneParams) -> dict[str, object]:
    if params.strategy == "scratch":
        architecture = params.architecture
        return {
            "model": "MACE",
            "interaction_first": "RealAgnosticResidualInteractionBlock",
            "hidden_irreps": architecture.hidden_irreps.replace(" ", ""),
            "r_max": architecture.r_max,
            "num_interactions": architecture.num_interactions,
            "max_ell": architecture.max_ell,
            "correlation": architecture.correlation,
            "num_radial_basis": architecture.num_radial_basis,
            "radial_MLP": str(list(architecture.radial_mlp)),
            "E0s": "average",
        }
    options: dict[str, object] = {
        # MACE's default drops the elements that the training data lack: the model could then not run on new cations.
        "foundation_model_elements": params.foundation_model_elements,
        # E0s of another kind are written into the foundation before the training: MACE fits them, logs them, and then
        # keeps the foundation's where it keeps all elements.
        "E0s": "foundation",
    }
    if params.strategy == "freeze":
        options["freeze"] = params.freeze
    if params.strategy == "lora":
        options |= {"lora": True, "lora_rank": params.lora_rank, "lora_alpha": params.lora_alpha}
    if uses_two_heads(params):
        # Without it MACE takes a learning rate and an average of its own.
        options |= {"force_mh_ft_lr": True, "real_pt_data_ratio_threshold": 0.0}
    return options
