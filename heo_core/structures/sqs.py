"""Special quasirandom structures: an exact composition in an order whose pairs and triplets are as if at random.

Zunger, Wei, Ferreira and Bernard, Phys. Rev. Lett. 65, 353 (1990), by icet's annealing in the given cell.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heo_core.curation.distances import compute_smallest_distance
from heo_core.elements import SYMBOLS
from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.prototypes import Occupation
from heo_core.structures.substitution import count_sites

# Pairs up to here are made random, Å; of triplets only those of nearest neighbours, with some room for distortion.
_PAIR_CUTOFF_ANG = 6.0
_TRIPLET_CUTOFF_PER_NEAREST = 1.1

_ANION = "O"

INSTALL = (
    "filling sqs needs icet, which is built by a C++ compiler: have one (g++ or clang++), then "
    "pip install --constraint constraints.txt icet, or the extra heo[sqs]"
)


def fill_sqs(parent: Structure, occupation: Occupation, n_steps: int, rng: np.random.Generator) -> Structure:
    """Put cations in the place of the names of sublattices, in the counts of `count_sites` and a quasirandom order.

    n_steps: steps of the search. A parent without a mixed sublattice is simply filled. InputError without icet, or as
    `count_sites`.
    """
    try:
        from icet import ClusterSpace
        from icet.input_output.logging_tools import set_log_config
        from icet.tools.structure_generation import generate_sqs_from_supercells
    except ImportError as exc:
        raise InputError(INSTALL) from exc
    from ase import Atoms

    set_log_config(level="WARNING")
    # icet tells sublattices apart by their elements, so each element on each sublattice gets a symbol of its own.
    symbols = iter(SYMBOLS[SYMBOLS.index(_ANION) + 1 :])
    stand_ins = {name: {element: next(symbols) for element in cations} for name, cations in occupation.items()}
    allowed = [list(stand_ins.get(label, {_ANION: _ANION}).values()) for label in parent.species]
    is_mixed = np.array([len(choices) > 1 for choices in allowed])
    cell = Atoms([choices[0] for choices in allowed], positions=parent.positions, cell=parent.lattice, pbc=True)
    concentrations: dict[str, dict[str, float]] = {}
    if is_mixed.any():
        nearest = compute_smallest_distance(parent.lattice, parent.positions[is_mixed])
        space = ClusterSpace(cell, [_PAIR_CUTOFF_ANG, _TRIPLET_CUTOFF_PER_NEAREST * nearest], allowed)
        letters = {symbol: part.symbol for part in space.get_sublattices(cell) for symbol in part.chemical_symbols}
        for name, fractions in occupation.items():
            counts = count_sites(fractions, parent.species.count(name))
            if len(counts) > 1:
                shares = {stand_ins[name][element]: n / sum(counts.values()) for element, n in counts.items()}
                concentrations[letters[next(iter(shares))]] = shares
        seed = int(rng.integers(2**31))
        cell = generate_sqs_from_supercells(space, [cell], concentrations, n_steps=n_steps, random_seed=seed)
    elements = {symbol: element for given in stand_ins.values() for element, symbol in given.items()}
    return replace(parent, species=tuple(elements.get(symbol, symbol) for symbol in cell.symbols))
