# SPDX-License-Identifier: Apache-2.0
"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008; P. Tol, "bright" scheme)."""

from __future__ import annotations

__all__ = [
    "CLASS_COLOURS", "DRAWN_BACKGROUND", "RUN_COLOURS", "STATE_STYLES", "as_hex", "class_colour", "panel_colours",
    "run_colour",
]  # fmt: skip

CLASS_COLOURS = [
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178),
]  # fmt: skip
"""Colours of the classes 1, 2, ... over grey images; they repeat after seven."""

DRAWN_BACKGROUND = (190, 190, 190)
"""Colour of background that somebody drew."""

RUN_COLOURS = ["#4477AA", "#EE6677", "#228833", "#AA3377", "#CCBB44", "#66CCEE", "#555555"]
"""Colours of the runs; they repeat after seven."""

STATE_STYLES = {"slack": ("#33658A", "o"), "active": ("#D98E04", "^"), "violated": ("#B3261E", "X")}
"""Colour and marker of the states of a constraint."""


def class_colour(index: int) -> tuple[int, int, int]:
    """Give the colour (red, green, blue) of a foreground class."""
    return CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)]


def run_colour(index: int) -> str:
    """Give the colour of a run as #RRGGBB."""
    return RUN_COLOURS[index % len(RUN_COLOURS)]


def as_hex(colour: tuple[int, int, int]) -> str:
    """Write a colour as #RRGGBB."""
    return "#{:02X}{:02X}{:02X}".format(*colour)


def panel_colours(classes: int) -> list[tuple[int, int, int]]:
    """Give at most 256 colours for pictures of grey slices under transparent class colours.

    They are the same for all pictures with as many classes, so that pictures of a series do not flicker.

    Args:
        classes: number of classes, background included.
    """
    shown = CLASS_COLOURS[: max(classes - 1, 0)]
    greys = max(64, 256 // (len(shown) + 1))
    found = [(grey, grey, grey) for grey in _even(greys)]
    for colour in shown:
        tints = [(0.35, grey) for grey in _even((256 - greys) // len(shown) - 3)]
        for alpha, grey in [(1.0, 0), (0.9, 0), (0.9, 255), *tints]:
            red, green, blue = (round((1 - alpha) * grey + alpha * part) for part in colour)
            found.append((red, green, blue))
    return found


def _even(number: int) -> list[int]:
    return [round(255 * i / (number - 1)) for i in range(number)]
