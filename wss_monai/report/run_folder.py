# SPDX-License-Identifier: Apache-2.0
"""Read run folders (``output_dir`` of a bundle run) for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wss_monai.io.run_content import read_record, read_scored, read_summary
from wss_monai.io.run_folder import (
    AGAIN,
    CASES,
    CONSTRAINTS,
    EPOCHS,
    EVALUATION,
    RECORD,
    SCORED,
    SLICES,
    RunTable,
)

__all__ = ["Run", "find_file", "not_finite", "read_run", "read_runs"]


@dataclass(frozen=True)
class Run:
    """What one run folder holds.

    Attributes:
        folder: the run folder.
        name: what the report calls the run; unique among the runs read together.
        info: run.json.
        epochs: metrics.csv, one dictionary an epoch, empty cells left out.
        summary: metrics_summary.json; None where evaluation has not run.
        cases: rows of evaluation/cases.csv.
        constraints: rows of evaluation/constraints.csv.
        files: evaluation/cases.json.
        slices: rows of evaluation/slices.csv.
    """

    folder: Path
    name: str
    info: dict[str, Any]
    epochs: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] | None = None
    cases: list[dict[str, Any]] = field(default_factory=list)
    constraints: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)

    @property
    def class_names(self) -> list[str]:
        """Names of all classes, background first."""
        return [str(name) for name in self.info["class_names"]]

    @property
    def case_ids(self) -> set[str]:
        """Identifiers of the scored cases."""
        return {str(entry["case"]) for entry in self.files}

    @property
    def bounds_origin(self) -> str:
        """Where the bounds of this run come from, in words; empty where it has none."""
        origin = self.info.get("bounds_origin") or (self.summary or {}).get("bounds_origin") or ""
        if isinstance(origin, dict):
            origin = ", ".join(f"{term}: {what}" for term, what in origin.items())
        return "" if str(origin).lower() == "none" else str(origin)

    @property
    def is_oracle(self) -> bool:
        """Whether the bounds of the training were read off the dense label."""
        return "oracle" in self.bounds_origin.lower()

    @property
    def has_dense_labels(self) -> bool:
        """Whether any scored case has a dense reference."""
        return bool(self.summary and self.summary.get("dice"))

    def last(self, column: str) -> float | None:
        """Give the last value of a column of metrics.csv."""
        values = [row[column] for row in self.epochs if column in row]
        return values[-1] if values else None


def read_runs(folders: Sequence[Path], scores: bool = True) -> list[Run]:
    """Read several runs that can stand side by side.

    Args:
        folders: run folders.
        scores: read the evaluation too, where there is one; False: only the training.

    Raises:
        FileNotFoundError: if a folder or a file that must be there is missing.
        ValueError: if a file cannot be read, or the runs have different classes or were scored on different cases.
    """
    if not folders:
        raise ValueError("runs is empty: name at least one run folder.")
    twice = sorted({str(f) for f in folders if [Path(g).resolve() for g in folders].count(Path(f).resolve()) > 1})
    if twice:
        raise ValueError(f"runs names the same folder more than once: {', '.join(twice)}.")
    runs = [read_run(folder, scores) for folder in folders]
    first = runs[0]
    for run in runs[1:]:
        if run.class_names != first.class_names:
            raise ValueError(
                f"the runs {first.folder} and {run.folder} have different classes, {first.class_names} and "
                f"{run.class_names}: make one report for each."
            )
    _same_cases([run for run in runs if run.summary is not None])
    names = _names(runs)
    return [Run(**{**vars(run), "name": name}) for run, name in zip(runs, names, strict=True)]


def read_run(folder: Path | str, scores: bool = True) -> Run:
    """Read one run folder. ``evaluation/`` may be absent, and so may metrics.csv where evaluation is there.

    Args:
        folder: the run folder.
        scores: read the evaluation too, where there is one; False: only the training.

    Raises:
        FileNotFoundError: if the folder or a file that must be there is missing.
        ValueError: if a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"run folder {folder} does not exist: give the output_dir of a run.")
    info = read_record(folder)
    epochs = _read_if_there(EPOCHS, folder)
    if not scores or not (folder / EVALUATION).is_dir():
        if not epochs:
            lacking = f"neither {EPOCHS.file} nor {EVALUATION}/" if scores else f"no {EPOCHS.file}"
            raise FileNotFoundError(f"{folder} holds {lacking}: there is nothing to show.")
        return Run(folder, folder.name, info, epochs)
    run = Run(
        folder,
        folder.name,
        info,
        epochs,
        read_summary(folder),
        CASES.read(folder),
        _read_if_there(CONSTRAINTS, folder),
        read_scored(folder),
        _read_if_there(SLICES, folder),
    )
    for table, rows in ((CASES, run.cases), (SLICES, run.slices)):
        if strange := sorted({str(row["class"]) for row in rows} - set(run.class_names)):
            raise ValueError(
                f"{folder / table.file} scores {strange}, which are no classes of {RECORD}, {run.class_names}: {AGAIN}."
            )
    return run


def find_file(run: Run, path: str | Sequence[str] | None) -> Path:
    """Find a file named in cases.json: absolute, relative to the run folder, or to the current folder.

    Raises:
        FileNotFoundError: if it is in none of these places, or None: the file does not name it.
    """
    if not path:
        raise FileNotFoundError(f"{run.folder / SCORED} does not name all files of a case: image and prediction.")
    name = Path(path if isinstance(path, str) else path[0])
    for place in (run.folder / name, run.folder / EVALUATION / name, name):
        if place.is_file() or place.is_dir():
            return place
    raise FileNotFoundError(f"{name}, named in {run.folder / SCORED}, is not there.")


def _same_cases(runs: Sequence[Run]) -> None:
    for run in runs[1:]:
        missing, extra = runs[0].case_ids - run.case_ids, run.case_ids - runs[0].case_ids
        if missing or extra:
            only = [
                f"only in {of.folder}: {', '.join(sorted(cases)[:5])}{' ...' if len(cases) > 5 else ''}"
                for of, cases in ((runs[0], missing), (run, extra))
                if cases
            ]
            raise ValueError(
                f"the runs {runs[0].folder} and {run.folder} were scored on different cases ({'; '.join(only)}): "
                "score both on the same cases, or make one report for each."
            )


def _names(runs: Sequence[Run]) -> list[str]:
    """Name the runs as shortly as tells them apart: by mode, by mode and seed, by folder, by path."""
    modes = [str(run.info.get("mode") or run.folder.name) for run in runs]
    seeded = [f"{mode}, seed {run.info.get('seed', '?')}" for mode, run in zip(modes, runs, strict=True)]
    for names in (modes, seeded, [run.folder.name for run in runs]):
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]


def _read_if_there(table: RunTable, folder: Path) -> list[dict[str, Any]]:
    return table.read(folder) if (folder / table.file).is_file() else []


def not_finite(run: Run) -> int:
    """Count the epochs whose loss is NaN or infinite."""
    return sum(not math.isfinite(row.get("loss", 0.0)) for row in run.epochs)
