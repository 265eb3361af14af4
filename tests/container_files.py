"""docker-compose.yml and deploy/Dockerfile as data, for the tests that check them and the one that runs them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "change-me"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def load_compose() -> dict[str, Any]:
    """docker-compose.yml with its merge keys resolved, variables as they stand."""
    return yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())


def load_example() -> dict[str, str]:
    """.env.example: value by name."""
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def list_variables(text: str, way: str) -> set[str]:
    """Names of the variables of a text that are taken in this way: `?` refused where empty, `-` with a default."""
    return {name for name, found, _ in _VARIABLE.findall(text) if found == way}


def interpolate(value: Any, variables: dict[str, str]) -> Any:
    """Fill in variables as Compose does; KeyError with its own message for one that must not be empty and is."""
    if isinstance(value, dict):
        return {key: interpolate(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]

    def fill(match: re.Match[str]) -> str:
        name, way, text = match.groups()
        if variables.get(name):
            return variables[name]
        if way == "?":
            raise KeyError(text)
        return text or ""

    return _VARIABLE.sub(fill, value) if isinstance(value, str) else value


def read_dockerfile() -> list[tuple[str, list[str]]]:
    """Instructions of deploy/Dockerfile with their words, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", (CHECKOUT / "deploy" / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], shlex.split(line)[1:]) for line in lines if line.strip()]


def list_image_environment(target: str) -> dict[str, str]:
    """Environment that the image of a target gives to its processes, from the stages that it is made from."""
    stages: dict[str, dict[str, str]] = {}
    for instruction, words in read_dockerfile():
        if instruction == "FROM":
            stages[words[-1]] = stage = dict(stages.get(words[0], {}))
        elif instruction == "ENV":
            stage |= dict(word.split("=", 1) for word in words)
    return stages[target]
