# SPDX-License-Identifier: Apache-2.0
"""Names that a user gives and that end in file names, tables and messages."""

from __future__ import annotations

import unicodedata

__all__ = ["LONGEST_STEM", "LONGEST_WORD", "odd_in", "odd_in_stem"]

LONGEST_STEM = 200
"""Bytes of UTF-8 that a file's name may begin with; file systems take 255, and what is made of it adds an ending."""
LONGEST_WORD = 1000
"""Characters of a name that is no file's."""
_ODD = {"Cc": "a control character", "Cs": "half of a character (a lone surrogate)", "Zl": "a line break",
        "Zp": "a line break"}  # fmt: skip


def odd_in(name: str) -> str:
    """Say what keeps a text from being a name in a table or a message; empty: nothing does."""
    for character in name:
        if word := _ODD.get(unicodedata.category(character)):
            return f"holds {word}, {character!r}"
    return f"has {len(name)} characters, more than {LONGEST_WORD}" if len(name) > LONGEST_WORD else ""


def odd_in_stem(name: str) -> str:
    """Say what keeps a text from being the beginning of a file's name; empty: nothing does."""
    if odd := odd_in(name):
        return odd
    length = len(name.encode("utf-8"))
    return f"has {length} bytes, and a file's name may have {LONGEST_STEM}" if length > LONGEST_STEM else ""
