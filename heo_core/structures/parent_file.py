"""A structure of the user's own as parent crystal: the sites of each of its cations are a sublattice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from heo_core.curation.descriptors import compute_effective_coordination
from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.ionic_radii import find_ionic_radius
from heo_core.structures.oxidation_states import balance_charges
from heo_core.structures.prototypes import Prototype, Sublattice, compute_mean_radius
from heo_core.structures.reading import has_shared_sites, read_atoms
from heo_core.structures.symmetry import find_space_group

ANION = "O"

# Shannon's radius of O2- with four cations around, Å: a middle value, for oxides of any kind.
_OXYGEN_RADIUS_ANG = 1.38


def load_parent(path: Path) -> Prototype:
    """Read the first structure of a file (CIF, POSCAR, extxyz, ... as ASE reads it) as a parent crystal.

    Sublattices are named after the elements, in the file's order; what is no oxygen keeps its place unless something
    else is said to fill it. Its own cell is the start: a filling changes it by the ratio of radii, so that the file's
    own composition leaves it as it is. InputError for a file that cannot be read, is not periodic, has no oxygen or
    shares sites between elements.
    """
    structure = _read(path)
    is_anion = np.array([symbol == ANION for symbol in structure.species])
    if not is_anion.any() or is_anion.all():
        msg = f"{path} has {'no' if not is_anion.any() else 'nothing but'} oxygen; a parent crystal has cations and O"
        raise InputError(msg)
    fractional = structure.positions @ np.linalg.inv(structure.lattice) % 1.0
    cations = list(dict.fromkeys(symbol for symbol in structure.species if symbol != ANION))
    counts = Counter(structure.species)
    states = balance_charges({name: {name: counts[name]} for name in cations}, counts[ANION]).states
    sublattices = []
    for name in cations:
        sites = np.array([symbol == name for symbol in structure.species])
        numbers = compute_effective_coordination(
            structure.lattice, structure.positions[sites], structure.positions[is_anion]
        )
        coordination = max(1, round(float(numbers.mean())))
        bond = None
        if states[name][name] > 0 and _has_radius(name):
            bond = compute_mean_radius({name: 1.0}, states[name], coordination) + _OXYGEN_RADIUS_ANG
        sublattices.append(Sublattice(name, fractional[sites], coordination, bond, cation=name))
    return Prototype(
        name=path.name,
        like=path.name,
        space_group_number=find_space_group(structure),
        lattice=structure.lattice,
        sublattices=tuple(sublattices),
        anion_sites=fractional[is_anion],
        oxygen_radius_ang=_OXYGEN_RADIUS_ANG,
        anion=ANION,
    )


def _read(path: Path) -> Structure:
    found = read_atoms(path)
    if not found:
        raise InputError(f"parent {path} holds no structure")
    atoms = found[0]
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise InputError(f"parent {path} is not periodic in three dimensions")
    if has_shared_sites(atoms):
        raise InputError(f"parent {path} has sites that elements share; give it one element a site")
    return Structure(np.array(atoms.cell), atoms.positions, tuple(atoms.symbols), path.name, "generated")


def _has_radius(element: str) -> bool:
    try:
        find_ionic_radius(element)
    except InputError:
        return False
    return True
