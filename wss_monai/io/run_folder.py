# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder and the columns of its tables, for those who write them and those who read them.

[The files of a run](../../docs/reference/configuration.md#the-files-of-a-run) says what they hold; a test compares it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from wss_monai.io.json_files import read_text
from wss_monai.io.tables import out_of_cell, write_csv

__all__ = [
    "CASES",
    "CONFIGURATION",
    "ENSEMBLE",
    "CONSTRAINTS",
    "EPOCHS",
    "EVALUATION",
    "LOG",
    "PREDICTION",
    "PREDICTIONS",
    "RECORD",
    "SCORED",
    "SLICES",
    "SLICE_TAGS",
    "SUMMARY",
    "TABLES",
    "TAGS",
    "RunColumn",
    "RunTable",
]

AGAIN = "run the training or evaluation of this run again"
MOST = 1e12
"""No run has more epochs, iterations or seconds."""
RECORD = "run.json"
"""What the run was."""
CONFIGURATION = "configuration.json"
"""All settings, id -> value."""
PREDICTION = "prediction.json"
"""What `wss-monai predict` needs: the network, and the steps before and behind it."""
ENSEMBLE = "ensemble.txt"
"""The runs of a cross-validation, a folder a line."""
LOG = "log.txt"
"""What the console said."""
SUMMARY = "metrics_summary.json"
"""Means over all scored cases."""
EVALUATION = "evaluation"
SCORED = f"{EVALUATION}/cases.json"
"""Paths and label values of each scored case."""
PREDICTIONS = f"{EVALUATION}/predictions"
TAGS = f"{EVALUATION}/tags.json"
"""How well a network that was trained on tags tells them."""


@dataclass(frozen=True)
class RunColumn:
    """A column of a table.

    Attributes:
        name: in the file.
        text: it holds words, or numbers that are names; not a measure.
        word: what figures and tables of scores call it; empty: its name.
        heading: (group, name) above its mean in the report's table of runs; None: it is not there.
        better: +1 where more is better, -1 where less is, 0 where neither is.
        of_case: it is about the whole case: the same in the rows of all its classes.
    """

    name: str
    text: bool = False
    word: str = ""
    heading: tuple[str, str] | None = None
    better: int = 0
    of_case: bool = False


@dataclass(frozen=True)
class RunTable:
    """A CSV file of a run folder.

    Attributes:
        file: its path in the folder.
        columns: those that it always has, or may have.
        closed: it has no others; else what else there is holds numbers.
        needed: columns without which a row says nothing.
        whole: columns of numbers that count something, finite and not below 0.
    """

    file: str
    columns: tuple[RunColumn, ...]
    closed: bool = True
    needed: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    def write(self, folder: str | PathLike[str], rows: Sequence[Mapping[str, Any]], wait: bool = True) -> None:
        """Write the table, whole or not at all; `wait` as of `replacing`.

        Raises:
            ValueError: a row has a column that is not declared.
        """
        strange = sorted({name for row in rows for name in row} - {column.name for column in self.columns})
        if strange and self.closed:
            raise ValueError(f"{self.file} has no columns {strange}: declare them in wss_monai/io/run_folder.py.")
        write_csv(Path(folder) / self.file, rows, wait)

    def read(self, folder: str | PathLike[str]) -> list[dict[str, Any]]:
        """Read the table: text as text, all else as numbers, empty cells left out.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is no table in UTF-8; a cell of numbers holds something else, or one that is needed nothing;
                names file, line and column.
        """
        path = Path(folder) / self.file
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: run the evaluation of this run again.")
        lines = io.StringIO(read_text(path), newline="")
        try:
            rows = list(csv.DictReader(lines))
        except csv.Error as error:
            raise ValueError(f"{path} is no table: {error}; run the evaluation of this run again.") from error
        return [self._values(row, path, line) for line, row in enumerate(rows, start=2)]

    def measures(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Names of the columns of numbers that rows have."""
        text = {column.name for column in self.columns if column.text}
        return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in text]

    def _values(self, row: Mapping[str, str], path: Path, line: int) -> dict[str, Any]:
        text = {column.name for column in self.columns if column.text}
        values: dict[str, Any] = {}
        for written, cell in row.items():
            if not cell or written is None:
                continue
            column = out_of_cell(written)
            try:
                values[column] = out_of_cell(cell) if column in text else float(cell)
            except ValueError:
                raise ValueError(f"{path}, line {line}, column {column}: {cell[:80]!r} is not a number.") from None
        for column in self.needed:
            if column not in values:
                raise ValueError(f"{path}, line {line}: column {column} is empty or missing; {AGAIN}.")
        for column in self.whole:
            if not 0 <= float(values.get(column, 0)) < MOST:
                raise ValueError(f"{path}, line {line}, column {column}: {values[column]!r} counts nothing; {AGAIN}.")
        return values


def _text(*names: str) -> tuple[RunColumn, ...]:
    return tuple(RunColumn(name, text=True) for name in names)


EPOCHS = RunTable(
    "metrics.csv",
    tuple(RunColumn(name) for name in ("epoch", "iteration", "seconds", "lr", "t", "loss")),
    closed=False,
    whole=("epoch", "iteration", "seconds"),
)
"""A row an epoch; the terms of the loss, violations and validation follow."""

CASES = RunTable(
    f"{EVALUATION}/cases.csv",
    (
        *_text("case", "patient", "group", "phase", "class"),
        RunColumn("dice", word="Dice", better=+1),
        RunColumn("iou", word="IoU", better=+1),
        RunColumn("hd95_mm", word="HD95 (mm)", heading=("Surface distance, mm", "HD95"), better=-1),
        RunColumn("asd_mm", word="ASD (mm)", heading=("Surface distance, mm", "ASD"), better=-1),
        RunColumn("volume_ml", word="volume (ml)"),
        RunColumn("reference_ml", word="reference volume (ml)"),
        RunColumn("volume_error_ml", word="volume error (ml)"),
        RunColumn("empty"),
        RunColumn("missed"),
        RunColumn("drawn_voxels", word="drawn voxels"),
        RunColumn("stroke_recall", word="strokes of the class right", better=+1),
        RunColumn("background_recall", word="background strokes right", better=+1, of_case=True),
        RunColumn("strokes_right", word="strokes right", better=+1, of_case=True),
        RunColumn("partial_ce", word="cross-entropy on strokes", better=-1, of_case=True),
        RunColumn("box_iou", word="IoU of boxes", better=+1),
        RunColumn("tags_right", word="tags right", better=+1),
    ),
    needed=("case", "class"),
)
"""A row a case and foreground class."""

SLICES = RunTable(
    f"{EVALUATION}/slices.csv",
    (
        *_text("case", "patient", "slice", "class"),
        *(RunColumn(name) for name in ("dice", "iou", "size_difference", "empty", "positive")),
    ),
    needed=("case", "slice", "class"),
)
"""A row a case with a dense label, slice and foreground class."""

CONSTRAINTS = RunTable(
    f"{EVALUATION}/constraints.csv",
    (
        *_text("case", "patient", "term", "origin", "class", "slice", "component", "unit"),
        *(RunColumn(name) for name in ("measure", "lower", "upper", "violation")),
        *_text("state", "other"),
    ),
    needed=("case", "term", "class", "component", "measure", "violation", "state"),
)
"""A row a measure that has a bound."""

SLICE_TAGS = RunTable(
    f"{EVALUATION}/slice_tags.csv",
    (*_text("case", "slice"), RunColumn("tag"), RunColumn("fused")),
    closed=False,
)
"""A row a slice, of networks that were trained on tags; a column a modality."""

TABLES = (EPOCHS, CASES, SLICES, CONSTRAINTS, SLICE_TAGS)
