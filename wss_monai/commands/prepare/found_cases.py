# SPDX-License-Identifier: Apache-2.0
"""What the verbs that look for files print of the cases that they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["print_labels", "some_names"]

SHOWN = 5
"""How many names of a list are printed."""
WORDS = {"label": "dense labels", "weak_label": "weak labels"}


def print_labels(count: int, without: Mapping[str, Sequence[str]], orphans: Mapping[str, Sequence[str]]) -> None:
    """Print how many of the cases have each kind of label.

    Args:
        count: cases.
        without: "label" or "weak_label" -> cases without it.
        orphans: the same -> labels without an image.
    """
    for role, lacking in without.items():
        print(f"{WORDS[role]}: {count - len(lacking)}; cases without: {some_names(lacking)}")
        if orphans[role]:
            print(f"{WORDS[role]} without an image, left out: {some_names(orphans[role])}")


def some_names(names: Sequence[str]) -> str:
    """Say how many there are, and the first."""
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} ({', '.join(names[:SHOWN])}{more})"
