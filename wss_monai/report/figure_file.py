# SPDX-License-Identifier: Apache-2.0
"""Figures as files: PNG, SVG or PDF by their ending."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from wss_monai.io.atomic_files import replacing

__all__ = ["check_figure_name", "save_figure"]

KINDS = (".png", ".svg", ".pdf")
SETTINGS: Any = {"svg.hashsalt": "wss_monai", "svg.fonttype": "none", "text.parse_math": False}


def check_figure_name(out: Path | str) -> Path:
    """Give the path of a figure.

    Raises:
        ValueError: if it ends in none of .png, .svg and .pdf.
    """
    out = Path(out)
    if out.suffix.lower() not in KINDS:
        raise ValueError(f"out must be a file that ends in {', '.join(KINDS)}, got {out}.")
    return out


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure; its folder is made where needed. The same figure gives the same file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    kind = out.suffix.lower()[1:]
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with replacing(out) as temporary, matplotlib.rc_context(SETTINGS):
        figure.savefig(temporary, format=kind, dpi=150, metadata=undated.get(kind))
