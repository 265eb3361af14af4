"""MACE on a CPU: two of its layers compute the same numbers by fewer operations.

A layer of MACE's that is of another kind than those described here stays as it is. The convolution can be used in
training too; the contraction cannot, for its weights get no gradients.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, wraps
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from e3nn.o3 import TensorProduct
from mace.modules.symmetric_contraction import Contraction, SymmetricContraction
from torch.autograd.function import once_differentiable

from heo_core.records import Array

_FEWEST_EDGES_PER_THREAD = 1000

# A product of 512 channels with all degrees up to 4 has 2.7e7.
_MOST_NUMBERS_IN_UNIT_VECTORS = 30_000_000

# What is folded beforehand is 10 MB an element in MACE-MP-0 medium.
_FOLDED_BYTES = 256 * 1024**2
_LEAST_CORRELATION_FOLDED = 3


def use_cpu_layers(module: Any) -> None:
    """Put these layers into a MACE model that is to predict only, in place of its own ones."""
    for interaction in module.interactions:
        if _is_fusible(interaction.conv_tp):
            interaction.conv_tp = FusedConvolution(interaction.conv_tp)
            interaction.conv_fusion = True  # MACE's own word for a layer that takes the edges and gives the messages
    for product in module.products:
        contraction = product.symmetric_contractions
        if isinstance(contraction, SymmetricContraction) and _is_foldable(contraction):
            product.symmetric_contractions = FoldedContraction(contraction)


@contextmanager
def fused_convolutions(module: Any) -> Iterator[None]:
    """Inside, a MACE model in training on a CPU computes its messages with FusedConvolution.

    Its own layers stay where they are, so its state_dict is the same as outside; it is not to be pickled as a whole.
    """
    fused = [(each, FusedConvolution(each.conv_tp)) for each in module.interactions if _is_fusible(each.conv_tp)]
    try:
        for interaction, convolution in fused:
            interaction.conv_tp.forward = convolution.forward
            interaction.conv_fusion = True
        yield
    finally:
        for interaction, _ in fused:
            del interaction.conv_tp.forward, interaction.conv_fusion


def _is_fusible(product: Any) -> bool:
    """Whether all paths are weighted, keep channels apart, and end in a place of their own."""
    if not isinstance(product, TensorProduct):
        return False
    channels = {block.mul for block in (*product.irreps_in1, *product.irreps_out)}
    return (
        len(channels) == 1
        and {block.mul for block in product.irreps_in2} == {1}
        and _count_unit_vectors(product) <= _MOST_NUMBERS_IN_UNIT_VECTORS
        and not product.internal_weights
        and all(path.connection_mode == "uvu" and path.has_weight for path in product.instructions)
        and [path.i_out for path in product.instructions] == list(range(len(product.irreps_out)))
    )


def _count_unit_vectors(product: TensorProduct) -> int:
    """Count the numbers that `_couple` makes: a file may claim shapes that would fill the memory."""
    n_vectors = sum(block.ir.dim for block in product.irreps_in1) * product.irreps_in2.dim
    return int(n_vectors * max(product.irreps_in1.dim, product.irreps_in2.dim, product.weight_numel))


class FusedConvolution(torch.nn.Module):
    """The messages of MACE's interactions: tensor product and sum over the neighbours in one pass over the edges.

    e3nn writes the product of every edge, (2 l + 1) numbers a path and channel, before MACE adds them up: on a CPU most
    of the time goes into moving them. Here an edge is added to its receiver at once.
    """

    _coupling: torch.Tensor

    def __init__(self, product: TensorProduct) -> None:
        super().__init__()
        self.n_channels = int(product.irreps_out[0].mul)
        self._in_dims, self._sh_dims, self._out_dims = (
            [int(block.ir.dim) for block in irreps]
            for irreps in (product.irreps_in1, product.irreps_in2, product.irreps_out)
        )
        coupling, self._paths = self._couple(product)
        self.register_buffer("_coupling", coupling, persistent=False)

    def _couple(self, product: TensorProduct) -> tuple[torch.Tensor, Array]:
        """Return what turns spherical harmonics into a matrix for each path, and where the matrices belong.

        The first, (n_sh, n_coupled), is read off the product's answers to unit vectors, so that it has its rounding.
        The second, (n_paths, 5): the first number of a path in coupled, senders, receivers; rows and columns.
        ValueError if a path lies outside of what it joins.
        """
        n_in, n_sh, n_channels = sum(self._in_dims), sum(self._sh_dims), self.n_channels
        like: dict[str, Any] = {"dtype": _find_dtype(product), "device": "cpu"}
        senders = torch.eye(n_in, **like).repeat_interleave(n_sh, 0)
        answers = product(
            _to_e3nn(senders[:, :, None].expand(-1, -1, n_channels), self._in_dims),
            torch.eye(n_sh, **like).repeat(n_in, 1),
            torch.ones(n_in * n_sh, product.weight_numel, **like),
        )
        answers = _from_e3nn(answers, self._out_dims)[:, :, 0].reshape(n_in, n_sh, -1)
        first_in, first_out = (np.cumsum([0, *dims]) for dims in (self._in_dims, self._out_dims))
        matrices, paths, n_coupled = [], [], 0
        for path in product.instructions:
            rows, columns = self._in_dims[path.i_in1], self._out_dims[path.i_out]
            row, column = int(first_in[path.i_in1]), int(first_out[path.i_out])
            matrix = answers[row : row + rows, :, column : column + columns]
            if matrix.shape != (rows, n_sh, columns):
                raise ValueError(f"a path of a tensor product joins {rows} x {columns} numbers where there are fewer")
            matrices.append(matrix.transpose(0, 1).reshape(n_sh, -1))
            paths.append((n_coupled, row, column, rows, columns))
            n_coupled += rows * columns
        return torch.cat(matrices, 1).detach(), np.array(paths, dtype=np.int64)

    def forward(
        self, node_feats: torch.Tensor, edge_attrs: torch.Tensor, weights: torch.Tensor, edge_index: torch.Tensor
    ) -> torch.Tensor:
        """Return messages (n_nodes, n_out), in the order of e3nn.

        node_feats: (n_nodes, n_in) of senders. edge_attrs: (n_edges, n_sh) spherical harmonics. weights: (n_edges,
        n_paths * n_channels). edge_index: (2, n_edges) senders and receivers. ValueError if the shapes differ: the
        loops look at none, and a file may hold layers that do not fit together.
        """
        senders = _from_e3nn(node_feats, self._in_dims).contiguous()
        coupled = (edge_attrs @ self._coupling).contiguous()
        weights = weights.contiguous().view(len(weights), len(self._paths), self.n_channels)
        n_edges = edge_index.shape[1]
        if (
            senders.shape[2] != self.n_channels
            or coupled.shape != (n_edges, self._coupling.shape[1])
            or len(weights) != n_edges
            or (n_edges and int(edge_index.max()) >= len(senders))
        ):
            raise ValueError(
                f"a tensor product of {self.n_channels} channels was given senders {tuple(senders.shape)}, "
                f"spherical harmonics {tuple(edge_attrs.shape)}, weights {tuple(weights.shape)} for {n_edges} edges"
            )
        messages = _Messages.apply(senders, coupled, weights, edge_index, self._paths, sum(self._out_dims))
        return _to_e3nn(messages, self._out_dims)


def _find_dtype(product: TensorProduct) -> torch.dtype:
    floats = (buffer.dtype for buffer in product.buffers() if buffer.is_floating_point() and buffer.numel())
    return next(floats, torch.get_default_dtype())


def _from_e3nn(features: torch.Tensor, dims: list[int]) -> torch.Tensor:
    """(n, sum of channels * dim), channel by channel in each block, to (n, sum of dims, channels)."""
    n_channels = features.shape[1] // sum(dims)
    blocks = torch.split(features, [n_channels * dim for dim in dims], 1)
    parts = [block.reshape(-1, n_channels, dim).transpose(1, 2) for block, dim in zip(blocks, dims, strict=True)]
    return torch.cat(parts, 1)


def _to_e3nn(features: torch.Tensor, dims: list[int]) -> torch.Tensor:
    """Undo `_from_e3nn`."""
    return torch.cat([block.transpose(1, 2).flatten(1) for block in torch.split(features, dims, 1)], 1)


class _Messages(torch.autograd.Function):
    """Messages (n_nodes, n_out, n_channels) by the loops below."""

    @staticmethod
    def forward(
        ctx: Any,
        senders: torch.Tensor,
        coupled: torch.Tensor,
        weights: torch.Tensor,
        edge_index: torch.Tensor,
        paths: Array,
        n_out: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(senders, coupled, weights, edge_index)
        ctx.paths = paths
        return _sum_messages((senders, coupled, weights), edge_index, paths, n_out)

    @staticmethod
    def backward(ctx: Any, d_messages: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *factors, edge_index = ctx.saved_tensors
        return (*_Derivatives.apply(*factors, d_messages.contiguous(), edge_index, ctx.paths), None, None, None)


class _Derivatives(torch.autograd.Function):
    """First derivatives of the messages; its backward gives the second ones, which a training on forces needs."""

    @staticmethod
    def forward(
        ctx: Any,
        senders: torch.Tensor,
        coupled: torch.Tensor,
        weights: torch.Tensor,
        d_messages: torch.Tensor,
        edge_index: torch.Tensor,
        paths: Array,
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(senders, coupled, weights, d_messages, edge_index)
        ctx.paths = paths
        ctx.set_materialize_grads(False)
        return _differentiate((senders, coupled, weights), d_messages, edge_index, paths)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *changes: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        *factors, d_messages, edge_index = ctx.saved_tensors
        gradients = [torch.zeros_like(tensor) for tensor in (*factors, d_messages)]
        # Messages are linear in each factor: along a change of it their derivative is the messages of that change.
        for i, change in enumerate(changes):
            if change is None:
                continue
            changed = [*factors[:i], change.contiguous(), *factors[i + 1 :]]
            gradients[-1] += _sum_messages(changed, edge_index, ctx.paths, d_messages.shape[1])
            for j, derivative in enumerate(_differentiate(changed, d_messages, edge_index, ctx.paths)):
                if j != i:
                    gradients[j] += derivative
        return (*gradients, None, None)


def _sum_messages(factors: Sequence[torch.Tensor], edge_index: torch.Tensor, paths: Array, n_out: int) -> torch.Tensor:
    """Return the messages (n_nodes, n_out, n_channels) of senders, coupled and weights."""
    senders = factors[0]
    inputs = [tensor.detach().numpy() for tensor in factors]
    edges = edge_index.numpy()

    def add_up(edges_of_thread: slice) -> torch.Tensor:
        messages = senders.new_zeros((len(senders), n_out, senders.shape[2]))
        add_messages(edges, edges_of_thread.start, edges_of_thread.stop, *inputs, paths, messages.numpy())
        return messages

    return _sum_over_threads(add_up, edges.shape[1])


def _differentiate(
    factors: Sequence[torch.Tensor], d_messages: torch.Tensor, edge_index: torch.Tensor, paths: Array
) -> tuple[torch.Tensor, ...]:
    """Return the derivatives of the messages by senders, coupled and weights, each of their shape."""
    senders, coupled, weights = factors
    inputs = [tensor.detach().numpy() for tensor in (*factors, d_messages)]
    edges = edge_index.numpy()
    d_coupled, d_weights = torch.zeros_like(coupled), torch.zeros_like(weights)
    per_edge = [tensor.numpy() for tensor in (d_coupled, d_weights)]

    def add_up(edges_of_thread: slice) -> torch.Tensor:
        d_senders = torch.zeros_like(senders)
        bounds = edges_of_thread.start, edges_of_thread.stop
        add_derivatives(edges, *bounds, *inputs, paths, *per_edge, d_senders.numpy())
        return d_senders

    return _sum_over_threads(add_up, edges.shape[1]), d_coupled, d_weights


def _sum_over_threads(add_up: Callable[[slice], torch.Tensor], n_edges: int) -> torch.Tensor:
    """Let as many threads as torch has add up a piece of the edges each; one where there are few edges."""
    n_threads = max(1, min(torch.get_num_threads(), n_edges // _FEWEST_EDGES_PER_THREAD))
    if n_threads == 1:
        return add_up(slice(0, n_edges))
    bounds = [n_edges * i // n_threads for i in range(n_threads + 1)]
    pieces = _threads().map(add_up, [slice(*pair) for pair in pairwise(bounds)])
    return torch.stack(list(pieces)).sum(0)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(torch.get_num_threads(), "mace")


def _compile(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop when it is first called, once for float32 and once for float64; kept on disk where possible.

    What is on disk may fail before the loop begins: a full disk, a file that was cut off, or the one of the other
    precision, which numba leaves where two processes write their first at once. Then it is compiled without the disk.
    """
    # Sums may be added up in another order, as for vectors; numbers that are not finite stay what they are.
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
    in_memory: Callable[..., None] = numba.njit(**options)(function)
    try:
        chosen: Callable[..., None] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written to
        return in_memory

    @wraps(function)
    def loop(*args: Any) -> None:
        nonlocal chosen
        try:
            chosen(*args)
        except (OSError, EOFError, pickle.UnpicklingError, TypeError):
            chosen = in_memory
            chosen(*args)

    return loop


@_compile
def add_messages(
    edges: Array, first: int, last: int, senders: Array, coupled: Array, weights: Array, paths: Array, messages: Array
) -> None:
    """Add the edges from first to last to the messages of their receivers."""
    n_channels = senders.shape[2]
    weighted = np.empty(n_channels, senders.dtype)
    for edge in range(first, last):
        sender, receiver = edges[0, edge], edges[1, edge]
        for path in range(len(paths)):
            place, row, column, n_rows, n_columns = paths[path]
            for i in range(n_rows):
                for channel in range(n_channels):
                    weighted[channel] = weights[edge, path, channel] * senders[sender, row + i, channel]
                for j in range(n_columns):
                    factor = coupled[edge, place + i * n_columns + j]
                    for channel in range(n_channels):
                        messages[receiver, column + j, channel] += factor * weighted[channel]


@_compile
def add_derivatives(
    edges: Array,
    first: int,
    last: int,
    senders: Array,
    coupled: Array,
    weights: Array,
    d_messages: Array,
    paths: Array,
    d_coupled: Array,
    d_weights: Array,
    d_senders: Array,
) -> None:
    """Add the derivatives by what `add_messages` takes, of the edges from first to last."""
    n_channels = senders.shape[2]
    weighted = np.empty(n_channels, senders.dtype)
    d_weighted = np.empty(n_channels, senders.dtype)
    for edge in range(first, last):
        sender, receiver = edges[0, edge], edges[1, edge]
        for path in range(len(paths)):
            place, row, column, n_rows, n_columns = paths[path]
            for i in range(n_rows):
                for channel in range(n_channels):
                    weighted[channel] = weights[edge, path, channel] * senders[sender, row + i, channel]
                    d_weighted[channel] = 0
                for j in range(n_columns):
                    factor = coupled[edge, place + i * n_columns + j]
                    total = 0 * factor
                    for channel in range(n_channels):
                        total += weighted[channel] * d_messages[receiver, column + j, channel]
                        d_weighted[channel] += factor * d_messages[receiver, column + j, channel]
                    d_coupled[edge, place + i * n_columns + j] = total
                for channel in range(n_channels):
                    d_weights[edge, path, channel] += d_weighted[channel] * senders[sender, row + i, channel]
                    d_senders[sender, row + i, channel] += d_weighted[channel] * weights[edge, path, channel]


def _is_foldable(contraction: SymmetricContraction) -> bool:
    """Whether folding gains: with products of two features the coefficients are small, and it does not."""
    correlations = {part.correlation for part in contraction.contractions}
    return len(correlations) == 1 and correlations.pop() >= _LEAST_CORRELATION_FOLDED


class FoldedContraction(torch.nn.Module):
    """MACE's symmetric contraction, its coupling coefficients multiplied with an element's weights beforehand.

    MACE multiplies the features of every atom and path with the coefficients, 50 times as many operations in MACE-MP-0
    medium as with one matrix for each element and channel. The matrices of the elements used last are kept.
    """

    def __init__(self, contraction: SymmetricContraction) -> None:
        super().__init__()
        self._contractions = contraction.contractions
        self._out_dims = [_coupling(part, 1).shape[0] for part in self._contractions]
        self._folded: OrderedDict[int, list[torch.Tensor]] = OrderedDict()

    def forward(self, features: torch.Tensor, node_attrs: torch.Tensor) -> torch.Tensor:
        """Return (n_nodes, n_out), in the order of e3nn.

        features: (n_nodes, n_channels, n_in). node_attrs: (n_nodes, n_elements), one for the element, else zero.
        """
        element_of_node = node_attrs.argmax(1)
        order = torch.argsort(element_of_node, stable=True)
        elements, counts = torch.unique_consecutive(element_of_node[order], return_counts=True)
        by_element = torch.split(features.transpose(0, 1)[:, order], counts.tolist(), 1)
        terms = [self._fold(element) for element in elements.tolist()]
        parts = [self._contract(part, folded) for part, folded in zip(by_element, terms, strict=True)]
        contracted = torch.cat(parts, 1)[:, torch.argsort(order)].transpose(0, 1)
        return torch.cat([block.flatten(1) for block in torch.split(contracted, self._out_dims, 2)], 1)

    def _contract(self, features: torch.Tensor, folded: list[torch.Tensor]) -> torch.Tensor:
        """Return (n_channels, n_nodes, n_out) of nodes (n_channels, n_nodes, n_in) of an element: Horner's scheme."""
        n_channels, n_nodes, n_in = features.shape
        highest, *lower = folded
        value = torch.bmm(features, highest)
        for term in lower:
            value = (value + term).view(n_channels, n_nodes, -1, n_in)
            value = torch.matmul(value, features.unsqueeze(-1)).squeeze(-1)
        return value

    def _fold(self, element: int) -> list[torch.Tensor]:
        """Return the terms of an element, of the highest order (n_channels, n_in, n), of the others (n_channels, 1, n).

        n: outputs times inputs to the power of what is still to be multiplied.
        """
        if element in self._folded:
            self._folded.move_to_end(element)
            return self._folded[element]
        terms: list[torch.Tensor] = []
        for order in range(self._contractions[0].correlation, 0, -1):
            couplings = [
                torch.einsum("...p,pc->c...", _coupling(part, order), _weights(part, order)[element]).detach()
                for part in self._contractions
            ]
            joined = torch.cat([coupling.flatten(1, -2) for coupling in couplings], 1)
            terms.append(joined.flatten(1).unsqueeze(1) if terms else joined.transpose(1, 2).contiguous())
        self._folded[element] = terms
        n_kept = max(1, _FOLDED_BYTES // sum(term.nbytes for term in terms))
        while len(self._folded) > n_kept:
            self._folded.popitem(last=False)
        return terms


def _coupling(contraction: Contraction, order: int) -> torch.Tensor:
    """(n_out, n_in, ..., n_in, n_paths), with as many n_in as the order says; MACE leaves n_out away where it is 1."""
    coupling: torch.Tensor = getattr(contraction, f"U_matrix_{order}")
    return coupling if coupling.dim() == order + 2 else coupling.unsqueeze(0)


def _weights(contraction: Contraction, order: int) -> torch.Tensor:
    """(n_elements, n_paths, n_channels)."""
    is_highest = order == contraction.correlation
    weights: torch.Tensor = contraction.weights_max if is_highest else contraction.weights[-order]
    return weights
