# SPDX-License-Identifier: Apache-2.0
"""Render the tables of the results from their CSV files: `python docs/make_results.py`; with ``--check``, only look.

A table stands between two comments, whose first one names the file (relative to docs/results) and, if wanted, rows and
columns:

    <!-- table: acdc-size/test.csv where fold=fold1 | arm | bounds = bounds_origin | Dice = **{dice}** -->
    <!-- /table -->

A column is a name of the file, a heading and a name, or a heading and a text with names in braces. Without columns, all
of the file but the seed and the facts about the run are shown, those that no row has a value for left out. Rows that
differ by their seed alone, as benchmarks/grid.py writes them, make one row: means, and the seeds' Dice beside them. A
cell may name a value of another file: ``{acdc-bounds/test.csv: arm=full: dice}``.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT, DATA = DOCS.parent, DOCS / "results"
TABLE = re.compile(r"(<!-- table: ([^\n]*?) -->\n)(.*?)(<!-- /table -->)", re.S)
VALUE = re.compile(r"\{([^{}:]+\.csv):\s*([^{}:]+):\s*(\w+)\}")
HEADINGS = {
    "bounds_origin": "bounds",
    "dice": "Dice",
    "dice_by_seed": "by seed",
    "hd95_mm": "HD95 mm",
    "volume_error_ml_abs": "volume error ml (abs)",
}
HIDDEN = re.compile(r"seed|fold|commit|device|seconds|hd95_mm_.*|volume_error_ml_abs_.*")
DIGITS = {"hd95_mm": 1, "volume_error_ml_abs": 1, "missed": 1, "seconds": 0, "cpu_seconds": 0}
DIGITS |= {"weights": 0, "iterations": 0, "steps_to_satisfy": 0}
DIGITS |= {"patients": 0, "slices": 0, "dense_patients": 0, "minutes": 0}
DIGITS |= {"coverage": 2, "sum_ratio": 2, "stated_ratio": 2, "width": 1}
"""Decimals of means over seeds; three if not said."""
BY_SEED = {"steps_to_satisfy"}
"""Columns that show a value for each seed: some may never get there."""
Row = dict[str, str]


def read(file: str) -> list[Row]:
    """The rows of a CSV file, rows that differ by their seed made one.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    with (DATA / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(f"{file}, line {number}: not as many cells as the header has.")
    return merged(rows) if rows and "arm" in rows[0] and any(row.get("seed") for row in rows) else rows


def merged(rows: list[Row]) -> list[Row]:
    """One row an arm: the mean of what are numbers, and ``dice_by_seed`` behind ``dice``."""
    arms: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        arms.setdefault((row["arm"], row.get("fold", "")), []).append(row)
    out = []
    for each in arms.values():
        one: Row = {}
        for name in each[0]:
            found = [row[name] for row in each]
            if name in BY_SEED:
                one[name] = " / ".join(value for value in found if value)
                continue
            numeric = name not in ("arm", "seed", "fold", "commit") and all(map(is_number, found))
            mean = f"{statistics.fmean(map(float, found)):.{digits_of(name)}f}" if numeric else ""
            one[name] = mean if numeric else " / ".join(dict.fromkeys(value for value in found if value))
            if name == "dice":
                one["dice_by_seed"] = " / ".join(f"{float(value):.3f}" for value in found)
        out.append(one)
    return out


def digits_of(name: str) -> int:
    """Decimals of a mean."""
    known = (digits for start, digits in DIGITS.items() if name == start or name.startswith(f"{start}_"))
    return next(known, 3)


def is_number(text: str) -> bool:
    """Whether a cell is a number and nothing else."""
    return re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", text) is not None


def looked_up(text: str) -> str:
    """The text with the values of other files in the place of ``{file: name=value: column}``."""

    def value(match: re.Match[str]) -> str:
        rows = chosen(read(match[1]), match[2])
        if len(rows) != 1:
            raise ValueError(f"{match[0]}: {len(rows)} rows.")
        return rows[0][match[3]]

    return VALUE.sub(value, text)


def chosen(rows: Iterable[Row], condition: str) -> list[Row]:
    """The rows whose column has the value: ``name=value``, several joined by commas."""
    wanted = [part.strip().partition("=")[::2] for part in condition.split(",")]
    return [row for row in rows if all(row[name] == value for name, value in wanted)]


def columns_of(rows: list[Row]) -> list[tuple[str, str]]:
    """Headings and texts if the page names none."""
    out = []
    for name in rows[0]:
        if HIDDEN.fullmatch(name) or not any(row[name] for row in rows):
            continue
        heading = HEADINGS.get(name, name.removeprefix("dice_"))
        out.append((heading, f"**{{{name}}}**" if name == "dice" else f"{{{name}}}"))
    return out


def filled(text: str, row: Row) -> str:
    """A text with the row's values; brackets and stars around nothing are left out."""
    text = re.sub(r"\{([^{}]+)\}", lambda match: row[match[1]], text)
    return text.replace(" ()", "").replace("****", "").strip()


def render(words: str) -> str:
    """The Markdown table that a comment asks for."""
    source, *columns = (part.strip() for part in words.split(" | "))
    file, _, condition = source.partition(" where ")
    rows = chosen(read(file), condition) if condition else read(file)
    if not rows:
        raise ValueError(f"{words}: no rows.")
    pairs = columns_of(rows)
    if columns:
        split = [column.partition(" = ") for column in columns]
        pairs = [
            (head, (text if "{" in text else f"{{{text}}}") if equals else f"{{{head}}}")
            for head, equals, text in split
        ]
    lines = ["| " + " | ".join(heading for heading, _ in pairs) + " |", "|" + "---|" * len(pairs)]
    for row in rows:
        lines.append("| " + " | ".join(looked_up(filled(text, row)) for _, text in pairs) + " |")
    return "\n".join(lines) + "\n"


def pages() -> list[Path]:
    """Pages that may show tables of results."""
    return [ROOT / "README.md", *sorted(DATA.rglob("*.md"))]


def rendered(page: Path) -> str:
    """The page with its tables made anew."""
    return TABLE.sub(lambda match: match[1] + render(match[2]) + match[4], page.read_text(encoding="utf-8"))


def stale() -> list[str]:
    """Pages whose tables are not those of the CSV files."""
    return [str(page.relative_to(ROOT)) for page in pages() if rendered(page) != page.read_text(encoding="utf-8")]


def unused() -> list[str]:
    """CSV files that no page shows; those of curves are for pictures."""
    shown = {match[2].split(" ")[0] for page in pages() for match in TABLE.finditer(page.read_text(encoding="utf-8"))}
    files = {str(file.relative_to(DATA)) for file in DATA.rglob("*.csv") if file.relative_to(DATA).parts[0] != "gpu"}
    return sorted(file for file in files - shown if not file.endswith("_curves.csv"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; say which page is not in step")
    options = parser.parse_args()
    wrong = stale()
    if options.check:
        for page in wrong:
            print(f"{page}: its tables are not those of the CSV files; run `python docs/make_results.py`")
        sys.exit(1 if wrong else 0)
    for page in wrong:
        (ROOT / page).write_text(rendered(ROOT / page), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
