# SPDX-License-Identifier: Apache-2.0
"""Words on pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

__all__ = ["font", "shortened", "wrapped"]


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Give the letters of that size in pixels."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def shortened(text: str, letters: ImageFont.FreeTypeFont, width: float) -> str:
    """Cut a text to a width in pixels; "…" says that something is missing."""
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def wrapped(text: str, letters: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break a text between words into lines of a width in pixels; a longer word is shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(word, letters, width))
    return lines
