"""Which cations fill which sublattice of a parent crystal: from a formula, or said sublattice by sublattice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from heo_core.errors import InputError
from heo_core.structures.prototypes import Occupation, Prototype

# By how much amounts may miss the prototype's, relative: formulas are rounded (Mg0.3333Ni0.3333Co0.3333O).
_TOLERANCE = 1e-3

type Amounts = dict[str, float]


def parse_composition(text: str) -> Amounts:
    """Amounts of the elements of a formula; an element without a number counts 1, parentheses multiply.

    Sorted by element. InputError for what pymatgen cannot read, or for what holds no element.
    """
    from pymatgen.core import Composition, Element

    try:
        amounts = {str(element): float(amount) for element, amount in Composition(text, strict=True).items()}
    except (ValueError, KeyError, TypeError) as exc:
        msg = f"composition {text!r} cannot be read ({exc}); allowed: a formula such as Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O"
        raise InputError(msg) from None
    if not amounts or not all(Element.is_valid_symbol(element) for element in amounts):
        msg = f"composition {text!r} is not made of elements; allowed: a formula such as Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O"
        raise InputError(msg)
    return dict(sorted(amounts.items()))


def assign_composition(composition: str | Mapping[str, str | Mapping[str, float]], prototype: Prototype) -> Occupation:
    """Fractions (sum 1) of the elements on each sublattice of a prototype, sorted by element.

    A mapping says it: sublattice -> formula of its cations, or element -> fraction.

    A formula must fill the sublattices exactly. Its elements, and its parentheses as wholes, are shared out; where that
    can be done in one way only, it is (MgAl2O4). Sublattices of equal size are filled in the order in which the formula
    is written (SrTiO3: A is Sr). A formula of one cation fills all (Co3O4). Anything else is an error that says how to
    say it, and so is a formula with other amounts, without oxygen, or with a cation that is no metal or metalloid.
    """
    if isinstance(composition, str):
        if any(part.cation for part in prototype.sublattices):
            example = json.dumps({prototype.sublattices[0].name: "Mn0.5Co0.5"})
            msg = (
                f"composition {composition!r} does not say which sites of {prototype.name} it fills; allowed: an "
                f"element of the file and what takes its place, such as {example}"
            )
            raise InputError(msg)
        return _read_formula(composition, prototype)
    kept = {part.name: {part.cation: 1.0} for part in prototype.sublattices if part.cation}
    names = list(prototype.per_formula)
    if set(composition) - set(names) or set(names) - set(composition) - set(kept):
        msg = (
            f"the composition fills {_join(list(composition)) or 'nothing'}; "
            f"{prototype.name} ({prototype.formula}) has {_join(names)}"
        )
        raise InputError(msg)
    filled = {name: read_fractions(given, f"{name} of {prototype.name}") for name, given in composition.items()}
    return {name: filled[name] if name in filled else kept[name] for name in names}


def format_formula(occupation: Occupation, prototype: Prototype) -> str:
    """Write a formula of what fills a prototype, sublattice by sublattice, for example (La0.5Sr0.5)(Mn)O3."""
    parts = []
    for name, count in prototype.per_formula.items():
        cations = "".join(f"{element}{f'{x:.4g}' if x != 1 else ''}" for element, x in occupation[name].items())
        parts.append(f"({cations}){count if count > 1 else ''}")
    n_anions = prototype.anions_per_formula
    return "".join(parts) + f"{prototype.anion}{n_anions if n_anions > 1 else ''}"


def read_fractions(cations: str | Mapping[str, float], where: str) -> Amounts:
    """Fractions (sum 1), sorted by element, of a formula in any amounts, or of fractions, which must sum to 1."""
    amounts = parse_composition(cations if isinstance(cations, str) else "".join(cations))
    if not isinstance(cations, str):
        amounts = {element: float(cations[element]) for element in amounts}
        if abs(sum(amounts.values()) - 1) > _TOLERANCE:
            msg = f"fractions on {where} sum to {sum(amounts.values()):g}; they must sum to 1"
            raise InputError(msg)
    _check_cations(amounts, where)
    return _normalise(amounts)


def _read_formula(formula: str, prototype: Prototype) -> Occupation:
    amounts = parse_composition(formula)
    anions = amounts.pop(prototype.anion, 0.0)
    n_cations, n_anions = sum(prototype.per_formula.values()), prototype.anions_per_formula
    scale = anions / n_anions
    if scale == 0 or abs(sum(amounts.values()) / scale / n_cations - 1) > _TOLERANCE:
        for_each = f"{n_anions if n_anions > 1 else ''} {prototype.anion}".strip()
        msg = (
            f"composition {formula!r} has {sum(amounts.values()):g} cations for {anions:g} {prototype.anion}; "
            f"{prototype.name} needs {n_cations} cations for each {for_each}"
        )
        raise InputError(msg)
    _check_cations(amounts, prototype.name)
    names = list(prototype.per_formula)
    if len(names) == 1:
        return {names[0]: _normalise(amounts)}
    if len(amounts) == 1:
        return {name: dict.fromkeys(amounts, 1.0) for name in names}
    groups = [group for group in _split_groups(formula, prototype.anion) if group]
    sizes = [sum(group.values()) / scale for group in groups]
    ways = list(_share_out(sizes, list(prototype.per_formula.values()), _TOLERANCE * n_cations))
    # The same parts in other places: sublattices of equal size, which the order tells apart.
    if not ways or len({frozenset(_collect(way)) for way in ways}) > 1:
        msg = (
            f"composition {formula!r} does not say which cations are on {_join(names)} of {prototype.name} "
            f"({prototype.formula}); put those of each in parentheses, {' first, then '.join(names)}, or give "
            f"{json.dumps(dict.fromkeys(names, '...'))}"
        )
        raise InputError(msg)
    occupation: dict[str, Amounts] = {name: {} for name in names}
    for group, place in zip(groups, min(ways), strict=True):
        for element, amount in group.items():
            part = occupation[names[place]]
            part[element] = part.get(element, 0.0) + amount
    return {name: _normalise(part) for name, part in occupation.items()}


def _split_groups(formula: str, anion: str) -> Iterator[Amounts]:
    """Amounts, without the anion, of what stands side by side in a formula: elements, and parentheses as wholes."""
    closing = {"(": ")", "[": "]", "{": "}"}
    start, depth = 0, 0
    for position, letter in enumerate(formula):
        if depth == 0 and position > start and (letter.isupper() or letter in closing):
            yield _drop(parse_composition(formula[start:position]), anion)
            start = position
        depth += (letter in closing) - (letter in closing.values())
    yield _drop(parse_composition(formula[start:]), anion)


def _drop(amounts: Amounts, anion: str) -> Amounts:
    return {element: amount for element, amount in amounts.items() if element != anion}


def _share_out(sizes: Sequence[float], room: Sequence[float], tolerance: float) -> Iterator[tuple[int, ...]]:
    """Every way to put things of these sizes into places so that each is full: the place of each thing."""
    if not sizes:
        if all(abs(left) <= tolerance for left in room):
            yield ()
        return
    for place, left in enumerate(room):
        if sizes[0] <= left + tolerance:
            rest = [*room[:place], left - sizes[0], *room[place + 1 :]]
            for way in _share_out(sizes[1:], rest, tolerance):
                yield (place, *way)


def _collect(way: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(i for i, place in enumerate(way) if place == wanted) for wanted in set(way)]


def _check_cations(amounts: Mapping[str, float], where: str) -> None:
    from pymatgen.core import Element

    odd = [element for element in amounts if not (Element(element).is_metal or Element(element).is_metalloid)]
    if odd:
        msg = f"{', '.join(odd)} on cation sites of {where}; allowed: metals and metalloids"
        raise InputError(msg)


def _normalise(amounts: Mapping[str, float]) -> Amounts:
    total = sum(amounts.values())
    return {element: amounts[element] / total for element in sorted(amounts)}


def _join(names: Sequence[str]) -> str:
    return " and ".join(names)
