"""The same row, id or material more than once: which of them stays."""

from __future__ import annotations

from collections.abc import Iterable

from heo_core.curation.rows import SOURCE_ORDER
from heo_core.curation.scan import Tally
from heo_core.curation.split import Entry
from heo_core.params import RuleParams


def order_of_preference(entry: Entry) -> tuple[int, str, str, str]:
    """Sort key that says which of two duplicates stays: own rows, then mp, agm, oqmd; then by id and content."""
    rank = SOURCE_ORDER.index(entry.source) + 1 if entry.source in SOURCE_ORDER else 0
    return rank, entry.immutable_id, entry.content_hash, entry.fingerprint or ""


def drop_duplicates(entries: Iterable[Entry], params: RuleParams, tally: Tally) -> tuple[Entry, ...]:
    """Return the entries that stay, in the order of preference; the tally counts the others."""
    hashes: set[str] = set()
    ids: set[str] = set()
    # The same material under another functional is another set of labels, not a duplicate.
    materials: set[tuple[str | None, str | None]] = set()
    kept = []
    for entry in sorted(entries, key=order_of_preference):
        material = entry.fingerprint, entry.functional and entry.functional.casefold()
        if params.drop_duplicate_ids and entry.immutable_id in ids:
            tally.add("duplicate_id", [entry.immutable_id])
        elif params.drop_duplicate_fingerprints and material in materials:
            tally.add("duplicate_fingerprint", [entry.immutable_id])
        elif entry.content_hash in hashes:
            tally.add("duplicate_row", [entry.immutable_id])
        else:
            hashes.add(entry.content_hash)
            ids.add(entry.immutable_id)
            if entry.fingerprint:
                materials.add(material)
            kept.append(entry)
    return tuple(kept)
