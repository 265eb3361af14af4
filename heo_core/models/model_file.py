"""Reading a `.model` file without running what a stranger wrote into it.

A MACE model file is a torch archive: a pickle, and a pickle can call anything. Here the unpickler finds only the
classes of which MACE models are made and a short list of functions that rebuild tensors. One of torch's own functions
among them runs Python source from the file (a traced contraction of MACE's symmetric product): it is handed on only
after its syntax tree has been checked. e3nn's compiled parts stand in the file as TorchScript, which has no way to call
Python.
"""

from __future__ import annotations

import ast
import io
import pickle
import pickletools
import zipfile
from types import SimpleNamespace
from typing import Any

import torch
from torch.fx.graph_module import reduce_graph_module

_CLASS_HOMES = ("torch.nn.modules.", "torch.nn.parameter", "mace.modules.", "e3nn.o3.", "e3nn.nn.", "e3nn.math.")
_NAMES = {
    "__builtin__": {"set", "frozenset", "slice", "complex", "bytearray"},
    "builtins": {"set", "frozenset", "slice", "complex", "bytearray"},
    "_codecs": {"encode"},
    "collections": {"OrderedDict", "defaultdict"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"scalar", "_reconstruct"},
    "numpy._core.multiarray": {"scalar", "_reconstruct"},
    "torch": {"Size", "Tensor", "device"},
    "torch._utils": {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"},
    "torch.fx._symbolic_trace": {"Tracer"},
    "torch.nn.functional": {"silu", "relu", "gelu", "elu", "softplus", "sigmoid", "tanh"},
    "torch.serialization": {"_get_layout"},
}
_TORCH_VALUES = (torch.dtype, torch.layout, torch.memory_format)
_TORCH_ACTIVATIONS = {"tanh", "sigmoid", "relu", "abs"}

_TRACED_IMPORTS = {
    "NoneType = type(None)",
    "from math import inf",
    "from math import nan",
    "from torch import device",
    "import torch",
    "import torch.fx._pytree as fx_pytree",
    "import torch.utils._pytree as pytree",
}
_TRACED_FUNCTIONS = {"torch.einsum", "torch.tensordot", "torch.functional.einsum", "torch.functional.tensordot"}
_TRACED_METHODS = {
    "permute",
    "transpose",
    "reshape",
    "view",
    "unsqueeze",
    "squeeze",
    "expand",
    "sum",
    "mul",
    "contiguous",
}
_TRACED_EXPRESSIONS = (ast.Attribute, ast.BinOp, ast.Constant, ast.List, ast.Name, ast.Tuple, ast.UnaryOp)
_TRACED_PARTS = (ast.arguments, ast.arg, ast.keyword, ast.expr_context, ast.operator, ast.unaryop)


class UnsafeModelError(pickle.UnpicklingError):
    """The file refers to something of which no MACE model is made; the message names it."""


def read_archive(content: bytes, *, device: str) -> Any:
    """Return the object in a torch archive.

    Raises zipfile.BadZipFile if the bytes are no torch archive, UnsafeModelError if it refers to anything that no MACE
    model needs, and what the classes themselves raise (RuntimeError, AttributeError, ...) if its parts do not fit
    together.
    """
    # The first bytes, not the directory at the end: by them torch decides whether to read an archive or a bare pickle.
    if not content.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile("it is not a torch archive")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        pickles = [archive.read(name) for name in names if name.endswith("/data.pkl") and not is_compressed]
    if not any(name.endswith("/data.pkl") for name in names):
        raise zipfile.BadZipFile("it is a zip archive without torch's data.pkl")
    if any(name.endswith("/constants.pkl") for name in names):
        raise zipfile.BadZipFile("it is a compiled TorchScript model; the uncompiled .model file is needed")
    if is_compressed:  # a megabyte may stand for a thousand
        raise zipfile.BadZipFile("it is a compressed archive, and torch compresses no model")
    for pickled in pickles:
        _check_memory(pickled)
    careful_pickle = SimpleNamespace(__name__=__name__, Unpickler=_CarefulUnpickler, load=_refuse_bare_pickle)
    return torch.load(io.BytesIO(content), map_location=device, weights_only=False, pickle_module=careful_pickle)


def _check_memory(pickled: bytes) -> None:
    """Refuse a pickle that numbers its objects so high that the table of them alone would fill the memory."""
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if (
                opcode.name in {"PUT", "BINPUT", "LONG_BINPUT"}
                and isinstance(argument, int)
                and argument > len(pickled)
            ):
                raise UnsafeModelError(f"it numbers an object {argument}, more than it can hold")
    except ValueError as exc:
        raise UnsafeModelError(f"its pickle is damaged: {exc}") from exc


class _CarefulUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.fx.graph_module", "reduce_graph_module"):
            return _rebuild_traced_module
        if name in _NAMES.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and ("." not in name) and self._is_torch_value(name):
            return super().find_class(module, name)
        if module.startswith(_CLASS_HOMES) and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__.startswith(_CLASS_HOMES):
                return found
        raise UnsafeModelError(f"it refers to {module}.{name}, of which no MACE model is made")

    @staticmethod
    def _is_torch_value(name: str) -> bool:
        return (
            name in _TORCH_ACTIVATIONS
            or name.endswith("Storage")
            or isinstance(getattr(torch, name, None), _TORCH_VALUES)
        )


def _refuse_bare_pickle(*_args: Any, **_kwargs: Any) -> Any:
    raise UnsafeModelError("it is a bare pickle")


def _rebuild_traced_module(body: dict[str, Any], import_block: str) -> torch.nn.Module:
    """Torch's reduce_graph_module, after its Python source proved to be a chain of tensor contractions."""
    source = body.get("_code") or body.get("code")
    if not isinstance(source, str) or not isinstance(import_block, str):
        raise UnsafeModelError("it holds a traced module without source")
    try:
        *imports, function = ast.parse(import_block + source).body
    except (SyntaxError, ValueError) as exc:
        raise UnsafeModelError("it holds Python source that is not one function") from exc
    if not isinstance(function, ast.FunctionDef) or function.name != "forward" or function.decorator_list:
        raise UnsafeModelError("it holds Python source that is not one plain function")
    suspects: list[ast.AST] = [statement for statement in imports if ast.unparse(statement) not in _TRACED_IMPORTS]
    suspects += [node for node in list(ast.walk(function))[1:] if not _is_tensor_algebra(node)]
    if suspects:
        raise UnsafeModelError(f"it holds Python source that no MACE model needs: {ast.unparse(suspects[0])[:100]}")
    return reduce_graph_module(body, import_block)


def _is_tensor_algebra(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            return function.attr in _TRACED_METHODS or ast.unparse(function) in _TRACED_FUNCTIONS
        return ast.unparse(function) in _TRACED_FUNCTIONS
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) for target in node.targets)
    return isinstance(node, (ast.Return, *_TRACED_EXPRESSIONS, *_TRACED_PARTS))
