"""Many cells of a composition on a parent crystal: filled, checked, each with the recipe that makes it again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from heo_core.curation.distances import compute_smallest_distance
from heo_core.errors import InputError
from heo_core.params import GenerationParams
from heo_core.records import Structure
from heo_core.structures.occupation import assign_composition, format_formula
from heo_core.structures.oxidation_states import balance_charges
from heo_core.structures.parent_file import load_parent
from heo_core.structures.perturb import draw_strain, rattle, strain
from heo_core.structures.prototypes import Prototype, get_prototype
from heo_core.structures.sqs import fill_sqs
from heo_core.structures.substitution import count_sites, fill, make_parent
from heo_core.structures.supercell import find_near_cubic_repeats
from heo_core.structures.symmetry import find_space_group
from heo_core.structures.vacancies import remove_oxygens

GENERATOR_VERSION = 1
"""Another number when the same parameters make other cells."""

CHECKS: dict[str, str] = {
    "space_group": "the parent, all cations of a sublattice alike, has not the space group of its prototype",
    "stoichiometry": "the cell has not the cations or oxygens that were asked for",
    "distance": "two atoms are closer than min_distance_ang",
}
"""What every cell must pass, and what it means if it does not."""

# Above, symmetry is that of the cell that is repeated: thousands of translations take minutes to find.
_MOST_ATOMS_SEARCHED = 1000


@dataclass(frozen=True, eq=False)
class GeneratedCell:
    """One cell and how it was made, or the check that it failed and why; then there is no structure.

    number: 1, 2, ...; with the seed it decides everything random in the cell.
    """

    number: int
    name: str
    structure: Structure | None
    recipe: dict[str, Any]
    failed_check: str | None = None
    failure: str | None = None


def generate(params: GenerationParams, on_progress: Callable[[int], None] | None = None) -> list[GeneratedCell]:
    """Make all cells; one that fails a check is among them, without a structure, and the others go on.

    on_progress is told how many are done. InputError for parameters that no cell can be made of.
    """
    batch = _Batch(params)
    cells = []
    for number in range(1, params.n + 1):
        cells.append(batch.make_cell(number))
        if on_progress is not None:
            on_progress(number)
    return cells


def compute_parent_sha256(params: GenerationParams) -> str | None:
    """Sha256 of the parent file, so that a recipe says what it read; None for a prototype. InputError if unreadable."""
    if params.parent is None:
        return None
    path = Path(params.parent).expanduser()
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        raise InputError(f"parent {path} cannot be read: {exc.strerror}") from exc


class _Batch:
    """What all cells of one set have in common, worked out once."""

    def __init__(self, params: GenerationParams) -> None:
        self.params = params
        self.prototype = _get_parent(params)
        self.occupation = assign_composition(params.composition, self.prototype)
        lattice = self.prototype.compute_lattice(self.occupation)
        self.supercell = params.supercell or find_near_cubic_repeats(lattice, self.prototype.n_atoms, params.min_atoms)
        self.parent = make_parent(self.prototype, self.occupation, self.supercell)
        self.formula = format_formula(self.occupation, self.prototype)
        self.n_formulas = self.parent.species.count(self.prototype.anion) / self.prototype.anions_per_formula
        is_large = self.parent.n_atoms > _MOST_ATOMS_SEARCHED
        searched = make_parent(self.prototype, self.occupation, (1, 1, 1)) if is_large else self.parent
        self.space_group_number = find_space_group(searched)
        self.ideal_distance = compute_smallest_distance(self.parent.lattice, self.parent.positions)
        self.sites = {
            name: [i for i, label in enumerate(self.parent.species) if label == name] for name in self.occupation
        }
        self.expected = {}
        if params.filling != "iid":
            self.expected = {
                name: count_sites(fractions, len(self.sites[name])) for name, fractions in self.occupation.items()
            }
        self.recipe: dict[str, Any] = {
            "composition": self.formula,
            "occupation": {name: dict(cations) for name, cations in self.occupation.items()},
            "prototype": self.prototype.name,
            "space_group_number": self.space_group_number,
            "supercell": np.array(self.supercell).tolist(),
            "filling": params.filling,
            "seed": params.seed,
        }
        if params.parent is not None:
            self.recipe["parent_sha256"] = compute_parent_sha256(params)

    def make_cell(self, number: int) -> GeneratedCell:
        params = self.params
        rng = np.random.default_rng([params.seed, number])
        name = f"{self.formula}-{self.prototype.name}/cell-{number}"
        recipe = self.recipe | {"cell": number}
        if self.space_group_number != self.prototype.space_group_number:
            reason = f"space group {self.space_group_number}, expected {self.prototype.space_group_number}"
            return GeneratedCell(number, name, None, recipe, "space_group", reason)
        cell = self._fill(rng)
        counts = {
            name: dict(sorted(Counter(cell.species[i] for i in sites).items())) for name, sites in self.sites.items()
        }
        cell, removed = remove_oxygens(cell, params.vacancies, rng)
        recipe |= self._balance_charges(counts, len(removed))
        if removed:
            recipe["vacancies"] = list(removed)
        if params.strain:
            tensor = draw_strain(params.strain, rng)
            cell = strain(cell, tensor)
            recipe["strain"] = tensor.tolist()
        if params.rattle_ang:
            cell = rattle(cell, params.rattle_ang, rng)
            recipe["rattle_ang"] = params.rattle_ang
        is_ideal = not (removed or params.strain or params.rattle_ang)
        distance = self.ideal_distance if is_ideal else compute_smallest_distance(cell.lattice, cell.positions)
        recipe["smallest_distance_ang"] = distance
        for check, reason in self._find_failures(cell, counts, distance):
            return GeneratedCell(number, name, None, recipe, check, reason)
        return GeneratedCell(number, name, replace(cell, immutable_id=name), recipe)

    def _fill(self, rng: np.random.Generator) -> Structure:
        if self.params.filling == "sqs":
            return fill_sqs(self.parent, self.occupation, self.params.sqs_steps, rng)
        return fill(self.parent, self.occupation, self.params.filling, rng)

    def _balance_charges(self, counts: Mapping[str, Mapping[str, int]], n_removed: int) -> dict[str, Any]:
        """Charges of the cell as it was filled, vacancies included."""
        per_formula = {
            name: {element: count / self.n_formulas for element, count in cations.items()}
            for name, cations in counts.items()
        }
        n_oxygen = self.prototype.anions_per_formula - n_removed / self.n_formulas
        balance = balance_charges(per_formula, n_oxygen)
        return {"oxidation_states": balance.states, "charge_residual_e_per_formula": balance.residual}

    def _find_failures(
        self, cell: Structure, counts: Mapping[str, Mapping[str, int]], distance: float
    ) -> Iterator[tuple[str, str]]:
        n_oxygen = self.parent.species.count(self.prototype.anion)
        n_kept = n_oxygen - round(self.params.vacancies * n_oxygen)
        if self.params.filling == "iid":
            is_right = all(cations.keys() <= self.occupation[name].keys() for name, cations in counts.items())
        else:
            is_right = counts == self.expected
        there = Counter(cell.species)
        if not is_right or there[self.prototype.anion] != n_kept:
            asked = self.occupation if self.params.filling == "iid" else self.expected
            yield "stoichiometry", f"the cell holds {dict(there)}, asked for were {asked} and {n_kept} oxygens"
        if distance < self.params.min_distance_ang:
            yield "distance", f"two atoms are {distance:.3f} Å apart, allowed are {self.params.min_distance_ang:g} Å"


def _get_parent(params: GenerationParams) -> Prototype:
    return get_prototype(params.prototype) if params.parent is None else load_parent(Path(params.parent).expanduser())
