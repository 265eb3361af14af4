"""What a benchmark is called on the page, and the part of an HTML id that a name becomes."""

from __future__ import annotations

from heo_core.reporting.data import ReportData, as_number
from heo_core.reporting.wording import count_cases, count_nouns, join_words

KIND_TITLES = {
    "energy-forces": "Energies and forces",
    "off-equilibrium": "Off equilibrium",
    "forgetting-holdout": "Simple oxides, held out",
    "equation-of-state": "Equations of state of binary oxides",
    "rattle-relax": "Rattled and relaxed again",
    "substitution-relax": "Random substitution, relaxed",
    "physics": "Physics",
}

KIND_SECTIONS = {
    "energy-forces": "energy-forces",
    "off-equilibrium": "softening",
    "forgetting-holdout": "softening",
    "equation-of-state": "softening",
    "rattle-relax": "relaxation",
    "substitution-relax": "relaxation",
    "physics": "physics",
}
"""The section of the page that is about a kind of benchmark, by its key."""


def describe_benchmark(data: ReportData, benchmark: str) -> str:
    """Return the name of a benchmark with its number of structures and the name of its labels."""
    functionals = join_words(data.list_functionals(benchmark))
    parts = [benchmark, _describe_size(data, benchmark), f"labels: {functionals}" if functionals else ""]
    return " · ".join(part for part in parts if part)


def _describe_size(data: ReportData, benchmark: str) -> str:
    """Return "36 structures", "8 starts from 4 structures" or "29 oxides, 261 cells"; nothing where it is not known."""
    rows = data.benchmarks[data.benchmarks["benchmark"] == benchmark]
    n = as_number(rows["n_cases"].iloc[0]) if len(rows) else None
    if n is None:
        return ""
    n_structures = data.count_structures(benchmark)
    if data.find_kind(benchmark) == "equation-of-state":
        oxides = "" if n_structures is None else f"{count_nouns(n_structures, 'oxide')}, "
        return oxides + count_nouns(int(n), "cell")
    origin = "" if n_structures is None else f" from {count_nouns(n_structures, 'structure')}"
    return count_cases(data, benchmark, int(n)) + origin


def make_key(name: str) -> str:
    """Return a name as part of an HTML id: letters, digits and hyphens, everything else by its code point."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign == "-") else f".{ord(sign):x}." for sign in name)
