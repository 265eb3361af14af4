"""What the files are called that figures and tables are saved as."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ENCODED = re.compile(r"\.[0-9a-f]+\.")  # as `make_key` writes a sign that is no letter, digit or hyphen


def name_files(keys: Iterable[str]) -> dict[str, str]:
    """Return a readable name, without extension, for each key of a page.

    One that is taken, whatever the case of its letters, gets a number: "a@1" is a-1, and "a:1" after it a-1-2.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key in keys:
        name = stem = re.sub("--+", "-", _ENCODED.sub("-", key)).strip("-") or "figure"
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names[key] = name
    return names
