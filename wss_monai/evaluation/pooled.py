# SPDX-License-Identifier: Apache-2.0
"""The scores of several runs on different cases as those of one: the folds of a cross-validation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from wss_monai.io.atomic_files import replacing
from wss_monai.io.json_files import read_json
from wss_monai.io.run_content import read_record, read_scored, read_summary
from wss_monai.io.run_folder import CASES, CONSTRAINTS, PREDICTIONS, RECORD, SCORED, SLICES, SUMMARY, RunTable
from wss_monai.io.tables import write_json
from wss_monai.metrics import summarize_constraints, summarize_slices, summarize_volumes, summarize_weak_labels

__all__ = ["pool_runs"]

ABOUT = ("evaluated_on", "bounds_origin", "seed")


def pool_runs(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], about: Mapping[str, Any]) -> dict:
    """Write a run folder whose cases are those of all runs, each scored by the run that did not train on it.

    The tables are put one below the other, and means over volumes are computed anew; predictions become links or
    copies. What a summary says besides is averaged, each run weighing as many as its volumes.

    Args:
        folders: run folders with an evaluation; no case is in two.
        out: the folder to write to.
        about: entries of its run.json that differ from the first run's.

    Returns:
        The summary.

    Raises:
        FileNotFoundError: a run has no evaluation.
        ValueError: the runs have different classes, or a case is in two of them.
    """
    runs = [Path(folder) for folder in folders]
    out = Path(out)
    records = [read_record(run) for run in runs]
    names = list(records[0]["class_names"])
    if strange := [str(run) for run, record in zip(runs, records, strict=True) if record["class_names"] != names]:
        raise ValueError(f"{runs[0]} and {', '.join(strange)} have different classes and make no one score.")
    scored = [entry for run in runs for entry in read_scored(run)]
    cases = [str(entry["case"]) for entry in scored]
    if twice := sorted({case for case in cases if cases.count(case) > 1}):
        raise ValueError(f"cases {twice} are scored in more than one of {', '.join(map(str, runs))}.")
    (out / PREDICTIONS).mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)  # it comes last
    for run in runs:
        for file in sorted((run / PREDICTIONS).iterdir()):
            if not file.name.startswith("."):
                _link(file, out / PREDICTIONS / file.name)
    tables = {table: [row for run in runs for row in _rows(table, run)] for table in (CASES, SLICES, CONSTRAINTS)}
    for table, rows in tables.items():
        table.write(out, rows)
    write_json(out / SCORED, [entry for run in runs for entry in read_json(run / SCORED)])
    first, patients = records[0], sorted({str(row["patient"]) for row in tables[CASES] if "patient" in row})
    write_json(out / RECORD, {**first, "patients": {"training": [], "validation": [], "test": patients}, **about})
    summary = _summary([read_summary(run) for run in runs], tables, names)
    write_json(out / SUMMARY, summary)
    return summary


def _rows(table: RunTable, run: Path) -> list[dict[str, Any]]:
    """The rows of a table, words that are empty kept: a term about volumes has no slice."""
    words = {column.name: "" for column in table.columns if column.text}
    return [words | row for row in table.read(run)]


def _summary(each: Sequence[Mapping[str, Any]], tables: Mapping[Any, Any], names: list[str]) -> dict[str, Any]:
    weights = [float(summary.get("n_volumes") or 1) for summary in each]
    summary: dict[str, Any] = {
        key: _mean([(one[key], weight) for one, weight in zip(each, weights, strict=True) if _is_means(one.get(key))])
        for key in dict.fromkeys(key for one in each for key, value in one.items() if _is_means(value))
    }
    summary |= _try(summarize_volumes, tables[CASES], names) | _try(summarize_slices, tables[SLICES])
    summary |= _try(summarize_weak_labels, tables[CASES], names)
    summary["constraint_satisfaction"] = _try(summarize_constraints, tables[CONSTRAINTS])
    failed = {case: why for one in each for case, why in (one.get("failed") or {}).items()}
    summary |= {"failed": failed} if failed else {}
    return summary | {key: each[0][key] for key in ABOUT if key in each[0]}


def _try(summarize: Callable[..., dict[str, Any]], rows: list[dict[str, Any]], *more: Any) -> dict[str, Any]:
    return summarize(rows, *more) if rows else {}


def _is_means(value: Any) -> bool:
    return isinstance(value, Mapping) and "mean" in value and all(isinstance(part, Real) for part in value.values())


def _mean(parts: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    out = {}
    for name in dict.fromkeys(name for values, _ in parts for name in values):
        known = [(values[name], weight) for values, weight in parts if name in values]
        out[name] = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return out


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
