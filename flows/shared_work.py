"""Work in pieces that several runs take from each other's hands: any number may be at it, and each may die."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from db.engine import claim

_SECONDS_BETWEEN_LOOKS = 5.0


def share_out[P: tuple[str, str | int]](
    url: str,
    key: str,
    pieces: Sequence[P],
    find_done: Callable[[], set[P]],
    work: Callable[[list[P]], None],
    *,
    at_once: int,
    on_progress: Callable[[int], object],
) -> None:
    """Do what is not done and nobody does, in the order of the pieces; return when all are done, by whomever.

    key: of the work; a piece is held by a lock of the database while it is worked on, so that what a killed run held is
    free. find_done looks into the database. work is given at most at_once pieces and stores each. on_progress is told
    how many are done.
    """
    names = {f"{key}:{first}:{second}": (first, second) for first, second in pieces}
    by_piece = {piece: name for name, piece in names.items()}
    while True:
        done = find_done()
        on_progress(sum(piece in done for piece in pieces))
        left = [piece for piece in pieces if piece not in done]
        if not left:
            return
        with claim(url, [by_piece[piece] for piece in left], at_once) as held:
            # One that another run stored between our look and our lock is not done twice.
            done = find_done() if held else done
            mine = [piece for piece in left if by_piece[piece] in held and piece not in done]
            if mine:
                work(mine)
        if not held:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
