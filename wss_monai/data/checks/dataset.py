# SPDX-License-Identifier: Apache-2.0
"""Every problem of a data set at once: `python -m wss_monai check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wss_monai.data.case_entry import Entry
from wss_monai.data.checks.across import check_annotation, check_geometries, check_images, class_statistics
from wss_monai.data.checks.case import CaseFacts, check_case
from wss_monai.data.checks.entries import read_entries
from wss_monai.data.checks.problem import Problem, Problems
from wss_monai.data.checks.split import check_parts, check_same_images, check_split_file
from wss_monai.data.schema import find_dataset
from wss_monai.data.splits import find_split_file

__all__ = ["CheckResult", "check_dataset"]

Progress = Callable[[Iterable[CaseFacts], int], Iterable[CaseFacts]]


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        name: the data set's name, empty where its file does not say.
        file: its `dataset.json`.
        cases: number of cases that could be looked at.
        patients: number of patients.
        quick: whether headers alone were read.
        problems: errors first, in the order of the cases.
        classes: name -> statistics, see `class_statistics`; empty after a quick check.
    """

    name: str
    file: Path
    cases: int
    patients: int
    quick: bool
    problems: list[Problem]
    classes: dict[str, dict[str, Any]]

    def count(self, severity: str) -> int:
        """Count the problems of one severity."""
        return sum(problem.severity == severity for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as a JSON object; no number in it is NaN or infinite."""
        return {
            "name": self.name,
            "file": str(self.file),
            "cases": self.cases,
            "patients": self.patients,
            "quick": self.quick,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "problems": [problem.as_dict() for problem in self.problems],
            "classes": self.classes,
        }


def check_dataset(
    path: str | os.PathLike[str],
    split: str | os.PathLike[str] | None = None,
    quick: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> CheckResult:
    """Look for every problem of a data set; a fault in one place hides none in another.

    Volumes are read one after the other and dropped.

    Args:
        path: the data set's folder, or its `dataset.json`.
        split: a split file to check against it, relative to the current folder or to the data set's.
        quick: read headers only, so that nothing is said of values.
        jobs: cases looked at side by side, in threads.
        progress: wraps the results as they come, given their number (tqdm, say).

    Returns:
        The problems and a summary.

    Raises:
        FileNotFoundError: there is no such data set or split file.
        ValueError: `jobs` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}")
    file = find_dataset(path)
    split_file = None if split is None else find_split_file(split, file.parent)
    entries = read_entries(file)

    def look(entry: Entry) -> CaseFacts:
        return check_case(entry, quick, entries.labels_known)

    if jobs == 1:
        cases = _collect(map(look, entries.entries), len(entries.entries), progress)
    else:
        with ThreadPoolExecutor(jobs) as pool:
            cases = _collect(pool.map(look, entries.entries), len(entries.entries), progress)

    across = Problems()
    check_parts(cases, split_file is not None, across)
    training = None
    if split_file is not None:
        training = check_split_file(split_file, cases, across)
    check_same_images(cases, across)
    check_geometries(cases, across)
    check_images(entries, cases, across)
    if not quick:
        check_annotation(entries, cases, training, across)
    problems = [*entries.problems, *across, *(problem for facts in cases for problem in facts.problems)]
    return CheckResult(
        name=entries.raw["name"] if isinstance(entries.raw.get("name"), str) else "",
        file=file,
        cases=len(cases),
        patients=len({facts.entry.patient for facts in cases if facts.entry.patient is not None}),
        quick=quick,
        problems=sorted(problems, key=lambda problem: problem.severity != "error"),
        classes={} if quick or not entries.labels_known else class_statistics(cases),
    )


def _collect(results: Iterable[CaseFacts], total: int, progress: Progress | None) -> list[CaseFacts]:
    return list(results if progress is None else progress(results, total))
