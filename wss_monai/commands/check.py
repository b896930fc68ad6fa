# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai check DATA`: find every problem of a data set at once, before anything is trained on it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wss_monai.io.faults import printable

if TYPE_CHECKING:
    from wss_monai.data.checks.dataset import CheckResult
    from wss_monai.data.checks.problem import Problem

__all__ = ["add_parser", "run"]

HEADINGS = ("", "case", "file", "problem", "what to do")
NARROW = (7, 20, 30)
"""Largest widths of the first columns; the last two share what is left of the line."""
WIDTH = 140
"""Width of the table where the output is no terminal."""


PIECE = re.compile(r'"[\w.]+": \{[^{}]*\}')
"""JSON in an advice, which is printed once more in one piece: a column of the table breaks it."""
PIECES = 10

MANY_CLASSES = 20
"""Classes beyond this many are in the JSON alone."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `check`."""
    parser = subparsers.add_parser("check", help="find every problem of a data set at once", description=__doc__)
    parser.add_argument("data", metavar="DATA", help="folder with a dataset.json")
    parser.add_argument("--split", metavar="FILE", help="check this split file against the data set as well")
    parser.add_argument("--json", metavar="OUT", type=Path, help="write problems and class volumes to this file")
    parser.add_argument("--quick", action="store_true", help="read headers only: nothing is said of values")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cases read side by side (default 1)")
    parser.add_argument("--all", action="store_true", help="a line for every case; else like problems share one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check a data set; print a table and write JSON.

    Returns:
        1 where there is an error, else 0.

    Raises:
        FileNotFoundError: there is no such data set or split file.
        ValueError: an argument does not fit, or the file for JSON is there and is not of this command.
    """
    from tqdm import tqdm

    from wss_monai.data.checks.dataset import check_dataset
    from wss_monai.io.atomic_files import check_replaceable, replacing

    check_replaceable(args.json, "--json", (b'{\n "name":',), (b'"problems":', b'"quick":'))
    result = check_dataset(
        args.data,
        args.split,
        args.quick,
        args.jobs,
        lambda cases, total: tqdm(cases, total=total, desc="check", unit="case", leave=False, disable=None),
    )
    print(make_text(result, args.all))
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        with replacing(args.json) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    return 1 if result.count("error") else 0


def make_text(result: CheckResult, every: bool = False, width: int | None = None) -> str:
    """Lay out what a check found.

    Args:
        result: of the check.
        every: a row for every problem; else problems of several cases that read alike share one.
        width: of the lines; None: that of the terminal, at least `WIDTH` where there is none.

    Returns:
        The table of problems, the table of classes, and the summary line.
    """
    width = shutil.get_terminal_size((WIDTH, 24)).columns if width is None else width
    parts = []
    if result.problems:
        groups = [[problem] for problem in result.problems] if every else _groups(result.problems)
        parts.append(_table([HEADINGS, *(_row(group) for group in groups)], max(width, 100)))
        pieces = dict.fromkeys(piece for problem in result.problems for piece in PIECE.findall(problem.todo))
        if pieces:
            parts.append("\n".join(["to copy:", *(printable(piece) for piece in list(pieces)[:PIECES])]))
    if result.classes:
        parts.append(_classes(result.classes))
    counts = [_count(result.count(severity), severity) for severity in ("error", "warning")]
    kinds = len({problem.kind for problem in result.problems})
    parts.append(
        f"{result.file}: {_count(result.cases, 'case')} of {_count(result.patients, 'patient')}, "
        + ", ".join(counts)
        + (f" of {_count(kinds, 'kind')}" if result.problems else "")
        + (" (headers only)" if result.quick else "")
    )
    return "\n\n".join(parts)


def _groups(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Put together errors that say the same, and warnings of one kind, of several cases."""
    groups: dict[tuple[str, ...], list[Problem]] = {}
    for problem in problems:
        same: tuple[str, ...] = (problem.severity, problem.kind, problem.todo, str(bool(problem.case)))
        if problem.severity == "error" or not problem.case:
            same = (*same, problem.problem)
        groups.setdefault(same, []).append(problem)
    return list(groups.values())


def _row(group: Sequence[Problem]) -> tuple[str, ...]:
    first, cases = group[0], len({problem.case for problem in group})
    more = f" and {cases - 1} more" if cases > 1 else ""
    files = len({problem.file for problem in group}) - 1
    others = f" and {files} more" if files and first.file else ""
    alike = len({problem.problem for problem in group}) > 1
    return (
        first.severity,
        (first.case or "data set") + more,
        first.file + others,
        first.problem + (" (the others alike)" if alike else ""),
        first.todo,
    )


def _table(rows: Sequence[Sequence[str]], width: int) -> str:
    """Lay out rows in columns; long texts are wrapped."""
    fixed = [min(limit, max(len(row[i]) for row in rows)) for i, limit in enumerate(NARROW)]
    rest = max(width - sum(fixed) - 2 * len(fixed), 40)
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [*fixed, rest * 11 // 20, rest - rest * 11 // 20 - 2]
    lines = []
    for row in rows:
        cells = [textwrap.wrap(text, size) or [""] for text, size in zip(row, widths, strict=True)]
        for i in range(max(map(len, cells))):
            line = [cell[i] if i < len(cell) else "" for cell in cells]
            lines.append("  ".join(f"{text:<{size}}" for text, size in zip(line, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _classes(classes: dict[str, dict[str, Any]]) -> str:
    """Lay out the volumes of the classes, by which a mistake of units shows."""
    dense, weak = (any(row[key] for row in classes.values()) for key in ("of", "weak_cases"))
    rows = [["class"] + ["dense labels", "ml: min / median / max"] * dense + ["weak labels", "voxels drawn"] * weak]
    for name, row in list(classes.items())[:MANY_CLASSES]:
        ml = row["volume_ml"]
        volumes = "" if ml is None else " / ".join(f"{ml[key]:.4g}" for key in ("min", "median", "max"))
        of_dense = [f"{row['cases']} of {row['of']}", volumes]
        rows.append([printable(name)] + of_dense * dense + [str(row["weak_cases"]), str(row["weak_voxels"])] * weak)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{text:<{size}}" for text, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(classes) > MANY_CLASSES:
        lines.append(f"and {len(classes) - MANY_CLASSES} classes more (--json lists them)")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
