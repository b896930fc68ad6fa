# SPDX-License-Identifier: Apache-2.0
"""Words that a command line of release 0.1 may hold; they work for one release."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

__all__ = ["current"]

OPTION = re.compile(r"--[A-Za-z][\w-]*(?==|$)")


def current(words: Sequence[str]) -> list[str]:
    """Give a command line in today's words; on stderr, where a verb has another name now.

    Options are written with dashes; with underscores they mean the same (what follows a `--` alone is no option).
    `weaken --strategy cam` is `pseudo-label`, and `synthesize prostate --layout brats` is `synthesize brain`.
    """
    if words[:1] == ["run"]:  # what follows are settings of a bundle
        return list(words)
    if words[:1] == ["crossval"] and not {*words[1:2]} & {"-h", "--help"}:  # so here, where argparse needs a word first
        return ["crossval", "settings", *words[1:]]
    end = words.index("--") if "--" in words else len(words)
    new = [OPTION.sub(lambda match: match[0].replace("_", "-"), word) for word in words[:end]] + list(words[end:])
    if new[:1] == ["weaken"]:
        rest, strategy = _without(new[1:], "--strategy")
        if strategy == "cam":
            _note("weaken --strategy cam", "pseudo-label")
            return ["pseudo-label", *rest]
    if new[:2] == ["synthesize", "prostate"]:
        rest, layout = _without(new[2:], "--layout")
        if layout == "brats":
            _note("synthesize prostate --layout brats", "synthesize brain")
            rest, zones = _without(rest, "--zones")
            return ["synthesize", "brain", *rest, *([] if zones in (None, "none") else [f"--zones={zones}"])]
        return [*new[:2], *(rest if layout == "dataset" else new[2:])]
    return new


def _without(words: Sequence[str], option: str) -> tuple[list[str], str | None]:
    """The words without an option, and its value; None where it is not there."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option and (equals or i + 1 < len(words)):
            return [*words[:i], *words[i + (1 if equals else 2) :]], value if equals else words[i + 1]
    return list(words), None


def _note(old: str, new: str) -> None:
    print(f"note: '{old}' is now '{new}'; the old words work for one release", file=sys.stderr)
