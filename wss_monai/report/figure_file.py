# SPDX-License-Identifier: Apache-2.0
"""Figures as files: PNG, SVG or PDF by their ending, tables of what is drawn as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from wss_monai.io.atomic_files import replacing

__all__ = ["check_figure_name", "save_figure", "write_table"]

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


def write_table(rows: Sequence[Mapping[str, Any]], out: Path | str) -> None:
    """Write rows as CSV; its folder is made where needed."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
