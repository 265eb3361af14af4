"""What a search may try: fields of nested parameters by dotted names, each with values that were tried on for size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import Any

from pydantic import BaseModel, ValidationError

RANGE_WORDS = frozenset({"low", "high", "log", "step"})
HELP = 'a list of values, such as [1e-4, 1e-3], or a range, such as {"low": 1e-4, "high": 1e-2, "log": true}'
MAX_COMBINATIONS = 2_500


def flatten_space(given: Any) -> dict[str, Any]:
    """Give each field its dotted name, in the order of the alphabet: JSON in a database keeps no order.

    Words with commas between them become a list. ValueError for what is neither a list nor a range.
    """
    if not isinstance(given, dict):
        raise ValueError(f'it takes {{"FIELD": VALUES}}, and VALUES is {HELP}')  # noqa: TRY004 - pydantic's kind
    return dict(sorted(_iter_flat(given, "")))


def _iter_flat(given: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for field, values in given.items():
        path = f"{prefix}{field}"
        if isinstance(values, dict) and values and not RANGE_WORDS & set(values):
            yield from _iter_flat(values, f"{path}.")
        elif isinstance(values, str) and "," in values:
            yield path, [_read_word(word.strip()) for word in values.split(",") if word.strip()]
        elif (isinstance(values, dict | list | tuple) and values) or isinstance(values, BaseModel):
            yield path, values
        else:
            raise ValueError(f"{path}={values!r}: it takes {HELP}")


def _read_word(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def set_values[P: BaseModel](base: P, values: Mapping[str, Any]) -> P:
    """Return the parameters with other values in the fields of these dotted names; ValidationError for a wrong one."""
    data = base.model_dump(mode="json")
    for path, value in values.items():
        *groups, field = path.split(".")
        place = data
        for group in groups:
            place = place[group]
        place[field] = value
    return type(base).model_validate(data)


def list_fields(base: BaseModel) -> dict[str, Any]:
    """All fields by their dotted names, with their values as JSON has them."""
    return dict(_iter_fields(base.model_dump(mode="json"), ""))


def _iter_fields(data: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for field, value in data.items():
        if isinstance(value, dict):
            yield from _iter_fields(value, f"{prefix}{field}.")
        else:
            yield f"{prefix}{field}", value


def check_field(base: BaseModel, path: str) -> None:
    """ValueError, naming the nearest, where there is no such field."""
    known = list_fields(base)
    if path not in known:
        of_group = [field for field in known if field.startswith(f"{path}.")]
        near = of_group or get_close_matches(path, known, n=3, cutoff=0.5) or sorted(known)
        raise ValueError(f"{path} is no field of a finetuning; there is: {', '.join(near)}")


def takes_whole_numbers(base: BaseModel, path: str) -> bool:
    """Whether one and a half is refused for being no whole number."""
    try:
        set_values(base, {path: 1.5})
    except ValidationError as exc:
        return any(problem["type"] == "int_from_float" for problem in exc.errors(include_url=False))
    return False


def try_values(base: BaseModel, samples: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Try all combinations of these values on the parameters, and return each value as the parameters store it.

    Of very many combinations, each value is tried once. ValueError names the first that is refused.
    """
    stored = {path: list(values) for path, values in samples.items()}
    for chosen in _combine(samples):
        values = {path: samples[path][i] for path, i in chosen.items()}
        try:
            fields = list_fields(set_values(base, values))
        except ValidationError as exc:
            raise ValueError(_explain_refusal(exc, values)) from exc
        for path, i in chosen.items():
            stored[path][i] = fields[path]
    return stored


def _combine(samples: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, int]]:
    if prod(len(values) for values in samples.values()) <= MAX_COMBINATIONS:
        for places in product(*(range(len(values)) for values in samples.values())):
            yield dict(zip(samples, places, strict=True))
        return
    for path, values in samples.items():
        for i in range(len(values)):
            yield dict.fromkeys(samples, 0) | {path: i}


def _explain_refusal(error: ValidationError, values: Mapping[str, Any]) -> str:
    path, reason = explain_first(error)
    if path in values:
        return f"{path}={values[path]!r}: {reason}"
    return f"{', '.join(f'{field}={value!r}' for field, value in values.items())}: {reason}"


def explain_first(error: ValidationError) -> tuple[str, str]:
    """Dotted name of the first field that was refused, empty for all together, and why."""
    problem = error.errors(include_url=False)[0]
    return ".".join(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")
