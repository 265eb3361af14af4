"""The answer in plain words, made from numbers only: one statement a question."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from heo_core.evaluation.metrics import MIN_GROUPS
from heo_core.evaluation.substitution_relax import REFERENCE_ENERGY
from heo_core.reporting.cautions import Caution
from heo_core.reporting.comparison import (
    Change,
    Verdict,
    find_change,
    is_soft,
    list_judged_benchmarks,
    list_slope_benchmarks,
)
from heo_core.reporting.data import ReportData
from heo_core.reporting.minima import METRIC, MinimaComparison, compare_minima
from heo_core.reporting.quantities import format_number, format_significant, get_quantity
from heo_core.reporting.wording import count_cases, count_nouns, join_words, name_model


@dataclass(frozen=True)
class Statement:
    """Whether the candidate is better than the baseline by one metric on one benchmark.

    text is a whole sentence or two. difference and its interval are in `unit`, as people see them; None where there
    is no number. better_range: between which differences the candidate is better. is_counted: whether it counts in the
    headline and in notifications; a surrogate's word does not.
    """

    benchmark: str
    kind: str
    candidate: str
    metric: str
    title: str
    verdict: Verdict
    text: str
    unit: str = ""
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    better_range: tuple[float, float] | None = None
    is_counted: bool = True


@dataclass(frozen=True)
class _Question:
    metric: str
    subject: str
    better_word: str
    worse_word: str


_QUESTIONS: dict[str, tuple[_Question, ...]] = {
    "energy-forces": (
        _Question("forces_rmse_ev_per_ang", "force RMSE", "lower", "higher"),
        _Question("energy_rmse_ev_per_atom", "energy RMSE", "lower", "higher"),
    ),
    "off-equilibrium": (
        _Question("forces_rmse_ev_per_ang", "force RMSE off equilibrium", "lower", "higher"),
        _Question("forces_softening_slope", "softening slope (1 is right)", "nearer to 1", "further from 1"),
        _Question("energy_rmse_ev_per_atom", "energy RMSE off equilibrium", "lower", "higher"),
    ),
    "forgetting-holdout": (_Question("forces_rmse_ev_per_ang", "force RMSE on simple oxides", "lower", "higher"),),
    "equation-of-state": (
        _Question("bulk_modulus_mae_fraction", "bulk modulus error on binary oxides", "lower", "higher"),
    ),
    "rattle-relax": (
        _Question("displacement_rmsd_mean_ang", "distance from the reference after relaxing", "smaller", "larger"),
        _Question("success_at_100", "share of structures relaxed within 100 force calls", "higher", "lower"),
    ),
    "substitution-relax": (
        _Question(REFERENCE_ENERGY, "relaxed energy under the common reference", "lower", "higher"),
        _Question("success_at_100", "share of cells relaxed within 100 force calls", "higher", "lower"),
    ),
}


# What is asked in place of a metric whose difference says nothing, and how it is told from that.
_FAIR_INSTEAD = {
    "energy_rmse_ev_per_atom": (
        "energy_offset_removed_rmse_ev_per_atom",
        "with the offset of its energy scale removed",
    )
}


def compute_statements(data: ReportData) -> list[Statement]:
    """One statement for each benchmark, candidate and question, in the order of the page."""
    if data.baseline is None:
        return []
    statements = []
    for kind, questions in _QUESTIONS.items():
        for benchmark in data.benchmarks_of_kind(kind):
            for candidate in data.candidates:
                statements += [_compute_statement(data, benchmark, kind, candidate, question) for question in questions]
                statements += [
                    _tell_lower_minima(data, benchmark, kind, candidate, found)
                    for found in compare_minima(data, benchmark, candidate)
                ]
    return statements


def compute_headline(data: ReportData, statements: list[Statement], cautions: list[Caution]) -> str:
    """Return the whole answer in a few sentences: which way the questions went, and how many warnings are serious."""
    parts = [_summarise(data, label, [s for s in statements if s.candidate == label]) for label in data.candidates]
    if not any(parts):
        return "There is nothing to compare yet."
    serious = sum(caution.serious for caution in cautions)
    if serious:
        parts.append(f"Read {count_nouns(serious, 'serious warning')} before you use it.")
    return " ".join(part for part in parts if part)


_OUTCOMES: tuple[tuple[Verdict, str], ...] = (
    ("better", "better than the baseline on {}"),
    ("caution", "better with a caveat on {}"),
    ("worse", "worse than the baseline on {}"),
)


def _summarise(data: ReportData, candidate: str, statements: list[Statement]) -> str:
    counts = Counter(statement.verdict for statement in statements if statement.is_counted)
    asked, undecided = counts.total() - counts["missing"], counts["undecided"]
    if not asked:
        return ""
    questions, who = count_nouns(asked, "question"), name_model(data, candidate)
    if undecided == asked:
        return f"{who} and the baseline: the data do not decide any of {questions}."
    parts = [words.format(counts[verdict]) for verdict, words in _OUTCOMES if counts[verdict]]
    parts[0] += f" of {questions}"
    return f"{who} is {join_words(parts)}{f'; the data do not decide {undecided}' if undecided else ''}."


def _compute_statement(data: ReportData, benchmark: str, kind: str, candidate: str, question: _Question) -> Statement:
    change = find_change(data, benchmark, candidate, question.metric)
    if change is not None and change.caution:
        fair, how = _FAIR_INSTEAD.get(question.metric, ("", ""))
        change_of_fair = find_change(data, benchmark, candidate, fair)
        if change_of_fair is None or change_of_fair.caution:
            return _refuse_to_judge(data, benchmark, kind, candidate, question, change.caution)
        question, change = replace(question, metric=fair, subject=f"{question.subject} {how}"), change_of_fair
    title = get_quantity(question.metric).title
    if change is None:
        text = f"{name_model(data, candidate)}'s {question.subject} has no paired comparison with the baseline here."
        return Statement(benchmark, kind, candidate, question.metric, title, "missing", text)
    who, told = name_model(data, candidate), _describe_change(data, benchmark, change, question)
    verdict, text = change.verdict, f"{who}'s {told}"
    judged = kind in {"energy-forces", "rattle-relax", "substitution-relax"}
    caveat = _find_caveat(data, benchmark, candidate, question.metric) if verdict == "better" and judged else ""
    if caveat:
        verdict, text = "caution", f"{text} {caveat}"
    return Statement(
        benchmark=benchmark,
        kind=kind,
        candidate=candidate,
        metric=question.metric,
        title=title,
        verdict=verdict,
        text=text,
        unit=change.quantity.unit,
        difference=change.difference,
        ci_low=change.low,
        ci_high=change.high,
        better_range=change.better_range,
    )


def _tell_lower_minima(
    data: ReportData, benchmark: str, kind: str, candidate: str, found: MinimaComparison
) -> Statement:
    """Tell which of two models found the lower minimum, on how many cells, in the eyes of labels."""
    change, title = found.change, get_quantity(METRIC).title
    if found.party is not None:
        text = (
            f"By {found.judge}, it is not decided whose minima are lower: the judge is "
            f"{_lower_first(name_model(data, found.party))} itself, and favours its own."
        )
        return Statement(benchmark, kind, candidate, METRIC, title, "undecided", text, is_counted=False)
    lead = (
        f"By {found.judge}, {_lower_first(name_model(data, candidate))} found the lower minimum in {found.n_lower} of "
        f"{count_nouns(change.n, 'start')}, the baseline in {found.n_higher}"
    )
    facts = f"paired difference {format_number(change.difference, change.decimals, signed=True)} {change.quantity.unit}"
    if found.n_other_state:
        facts += f"; in {found.n_other_state} the two cells are in different magnetic states"
    if change.interval is None:
        text = f"{lead} ({facts}); fewer than {MIN_GROUPS} different cells give no interval, so this may be chance."
    else:
        low, high = (change.format_bound(bound) for bound in change.interval)
        undecided = " The interval includes zero: the data do not decide." if change.verdict == "undecided" else ""
        text = f"{lead} ({facts}, 95 % CI {low} to {high}).{undecided}"
    return Statement(
        benchmark=benchmark,
        kind=kind,
        candidate=candidate,
        metric=METRIC,
        title=title,
        verdict=change.verdict,
        text=text,
        unit=change.quantity.unit,
        difference=change.difference,
        ci_low=change.low,
        ci_high=change.high,
        better_range=change.better_range,
        is_counted=found.is_dft,
    )


def _lower_first(name: str) -> str:
    """Return a name as it stands inside a sentence: a label stays as it is."""
    return name[0].lower() + name[1:] if name.startswith("The ") else name


def _refuse_to_judge(
    data: ReportData, benchmark: str, kind: str, candidate: str, question: _Question, caution: str
) -> Statement:
    """Say why a difference that is stored says nothing, without its number."""
    title = get_quantity(question.metric).title
    text = f"{name_model(data, candidate)}'s {question.subject} cannot be compared with the baseline's: {caution}."
    return Statement(benchmark, kind, candidate, question.metric, title, "undecided", text)


def _describe_change(data: ReportData, benchmark: str, change: Change, question: _Question) -> str:
    """Return "force RMSE is 23 % lower (41 → 32 meV/Å; paired difference −9, 95 % CI −13 to −6, 36 structures)."."""
    direction = question.better_word if change.improved else question.worse_word
    if change.improved is None:
        direction = "higher" if change.difference > 0 else "lower"
    lead = f"{question.subject} is {_describe_size(change)} {direction}"
    if change.difference == 0:
        lead = f"{question.subject} is unchanged"
    facts = f"({_describe_levels(change, question.metric)}, {{}}{count_cases(data, benchmark, change.n)})"
    if change.interval is None:
        return f"{lead} {facts.format('')}, but no interval was computed, so this may be chance."
    if change.interval == (0.0, 0.0):
        return f"{question.subject} is the same in every case {facts.format('')}: the data do not decide."
    low, high = (change.format_bound(bound) for bound in change.interval)
    told = f"{lead} {facts.format(f'95 % CI {low} to {high}, ')}."
    if change.verdict != "undecided":
        return told
    if change.interval[0] <= 0 <= change.interval[1]:
        return f"{told} The interval includes zero: the data do not decide."
    return f"{told} The data do not decide which of the two is nearer to 1."


def _describe_size(change: Change) -> str:
    """Size of the change: per cent of the baseline for errors; an absolute number for shares, or without levels."""
    absolute = format_number(abs(change.difference), change.decimals)
    if change.quantity.unit == "points":
        return f"{absolute} percentage points"
    if change.quantity.better == "one":
        if change.before is None:
            return absolute
        distances = abs(change.before - 1), abs(change.before + change.difference - 1)
        return format_number(abs(distances[1] - distances[0]), change.decimals)
    if not change.before:
        return f"{absolute} {change.quantity.unit}".rstrip()
    share = 100 * abs(change.difference / change.before)
    return f"{format_number(share, 0 if share >= 1 else 1)} %"


def _describe_levels(change: Change, metric: str) -> str:
    """Both values and their difference; only the difference where they are not known."""
    difference = f"paired difference {format_number(change.difference, change.decimals, signed=True)}"
    if change.before is None or change.after is None:
        return f"{difference} {change.quantity.unit}".rstrip()
    unit = get_quantity(metric).unit
    before, after = (format_number(value, change.decimals) for value in (change.before, change.after))
    return f"{f'{before} → {after} {unit}'.rstrip()}; {difference}"


def _find_caveat(data: ReportData, benchmark: str, candidate: str, metric: str) -> str:
    """Return why a gain by this metric is not yet a better model; empty when nothing speaks against it."""
    if metric.startswith("success_"):
        soft = any(is_soft(data, name, candidate) for name in list_slope_benchmarks(data))
        return "But the model is soft (see the warnings), and a softer model converges faster." if soft else ""
    return _find_force_trap(data, benchmark, candidate) if metric.startswith("forces_") else ""


def _find_force_trap(data: ReportData, benchmark: str, candidate: str) -> str:
    reasons = []
    zero = data.find_metric(candidate, benchmark, "zero_force_rmse_ev_per_ang")
    own = data.find_metric(candidate, benchmark, "forces_rmse_ev_per_ang")
    if zero is not None and own is not None and zero < own:
        reasons.append(f"predicting zero force everywhere would score {format_significant(zero * 1000)} meV/Å")
    if any(is_soft(data, name, candidate) for name in list_judged_benchmarks(data, "off-equilibrium") or [benchmark]):
        reasons.append("the model is soft (see the warnings), and a softer model scores well on relaxed structures")
    return f"But {join_words(reasons)}: a lower error alone does not make it the better potential." if reasons else ""
