"""Parameters of deployments as somebody might send them: right in shape but for one place, or wrong altogether."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from prefect import Flow
from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError
from pydantic import BaseModel, ValidationError

from flows.admission import admit
from heo_core.errors import InputError
from heo_core.params import Params

CHECKOUT = Path(__file__).resolve().parents[2]

REFUSALS = (ParameterBindError, ParameterTypeError, SignatureMismatchError, ValidationError, InputError)
"""How a run may be refused: each says which parameter, and what is wrong with it."""

NASTY_WORDS = (
    "",
    " ",
    "../../../../etc/passwd",
    "/etc/passwd",
    "file:/etc/shadow",
    "~root/.ssh/id_rsa",
    "x" * 5000,
    "'; drop table structure; --",
    "$(touch /tmp/owned)",
    "{{ event.payload }}",
    "<script>alert(1)</script>",
    "nul\x00byte",
    "\ud800",
    "NaN",
    "1e999",
    "[" * 3000,
    '{"a": ' * 500,
    "\N{RIGHT-TO-LEFT OVERRIDE}",
    "4x0x2",
    "heo-mini@",
    "@1",
    "registry:",
)
NASTY_NUMBERS = (-1, 0, 1.5, 10**30, -(10**30), 1e308, 1e-308, 2**63)

nasty = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NASTY_NUMBERS),
    st.sampled_from(NASTY_WORDS),
    st.text(max_size=20),
    st.lists(st.sampled_from((None, 1, "a", [])), max_size=3),
    st.dictionaries(st.text(max_size=5), st.sampled_from((None, 1, "a", {})), max_size=3),
)


def load_flows() -> dict[str, Flow[..., Any]]:
    """Every deployed flow by the name of its deployment."""
    deployments = yaml.safe_load((CHECKOUT / "deploy" / "prefect.yaml").read_text())["deployments"]
    flows = {}
    for deployment in deployments:
        path, _, name = deployment["entrypoint"].partition(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        flows[deployment["name"]] = getattr(module, name)
    return flows


def make_valid(flow: Flow[..., Any]) -> dict[str, Any]:
    """Parameters that a flow takes: its defaults written out, and an example of what has none."""
    params = {"label": {"dataset": "sample"}, "sweep": {"space": {"lr": [1e-3, 2e-3]}}}
    examples = {"params": params.get(flow.name), "model": "heo-mini@1"}
    values = {}
    for name, parameter in flow.parameters.properties.items():
        values[name] = copy.deepcopy(parameter.get("default", examples.get(name)))
    return values


def list_places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place within a JSON value, the groups as well as what is in them."""
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from list_places(part, (*at, key))


@st.composite
def broken(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """Valid parameters with one to three places replaced, removed, or joined by a field that there is not."""
    values = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = list(list_places(values))
        if not places:
            break
        *parents, last = draw(st.sampled_from(places))
        group = values
        for parent in parents:
            group = group[parent]
        how = draw(st.sampled_from(("replace", "replace", "replace", "remove", "join")))
        if how == "replace":
            group[last] = draw(nasty)
        elif how == "remove":
            del group[last]
        elif isinstance(group, dict):
            group[draw(st.text(min_size=1, max_size=8))] = draw(nasty)
    return values


def admit_parameters(flow: Flow[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Do with parameters what a run does before its first task; raises one of REFUSALS."""
    admitted = flow.validate_parameters(values)
    admit(*(value for value in admitted.values() if isinstance(value, Params)))
    return admitted


def dump(admitted: dict[str, Any]) -> dict[str, Any]:
    """Admitted parameters as JSON."""
    return {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in admitted.items()
    }
