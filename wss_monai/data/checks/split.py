# SPDX-License-Identifier: Apache-2.0
"""Checks of who is on which side: patients, files and image contents in several parts or under several names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wss_monai.data.checks.case import CaseFacts
from wss_monai.data.checks.problem import Problems
from wss_monai.data.leak_guard import patient_key
from wss_monai.data.splits import read_split_file
from wss_monai.io.faults import Fault
from wss_monai.io.json_files import read_json

__all__ = ["check_parts", "check_same_images", "check_split_file"]

DEFAULT_FOLDS = 5


def check_parts(cases: Sequence[CaseFacts], has_split: bool, problems: Problems) -> None:
    """Check the patients of `training` and `test`, the spellings of their names, their groups and their number.

    Args:
        cases: all cases.
        has_split: whether a split file says who trains, so that few patients are no matter.
        problems: grows.
    """
    parts: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for facts in cases:
        patient = facts.entry.patient
        if patient is not None:
            parts[facts.entry.part].add(patient)
            if facts.entry.case.get("group") is not None:
                groups[patient].add(facts.entry.case["group"])
    _report_shared(parts, "dataset.json", problems)
    for patient, found in groups.items():
        if len(found) > 1:
            problems.error("group", f"patient '{patient}' has the groups {sorted(found)}", "keep one", "dataset.json")
    for part, names in parts.items():
        for spellings in _by_person(names).values():
            if len(spellings) > 1:
                problems.warning(
                    "spelling",
                    f"{sorted(spellings)} in '{part}' read as one patient",
                    "write a patient's name one way; if they are several persons, make the names differ in more than "
                    "zeros, case and words like 'patient'",
                    "dataset.json",
                )
    number = len(parts["training"])
    if not has_split and not parts["test"] and 0 < number < DEFAULT_FOLDS:
        problems.warning(
            "few_patients",
            f"{number} patient{'s' * (number > 1)}: too few for the default {DEFAULT_FOLDS} folds",
            "pass fewer folds (--data#folds 2), list 'test' cases or write a split file",
            "dataset.json",
        )


def check_split_file(path: Path, cases: Sequence[CaseFacts], problems: Problems) -> set[str] | None:
    """Check a split file against the data set.

    Args:
        path: the file, which exists.
        cases: all cases.
        problems: grows.

    Returns:
        The patients who train, None where that changes from fold to fold.
    """
    refusal: Fault | None = None
    try:
        read_split_file(path)
    except Fault as fault:
        refusal = fault
    parts = _lenient_parts(path)
    before = len(problems)
    _report_shared({name: set(ids) for name, ids in parts.items()}, path.name, problems)
    patients = {facts.entry.patient for facts in cases if facts.entry.patient is not None}
    for name, ids in parts.items():
        unknown = sorted(set(ids) - patients)
        if unknown:
            problems.error(
                "split",
                f"'{name}' names {_some(unknown)}, who are not in the data set (which has e.g. "
                f"{_some(sorted(patients), 2)})",
                "use the names of the 'patient' entries",
                path.name,
            )
    if refusal is not None and not any(problem.kind == "leak" for problem in problems[before:]):
        problems.error("split", refusal.problem, refusal.todo or "mend the split file", path.name)
    left = sorted(patients - {patient for ids in parts.values() for patient in ids})
    if parts and left and refusal is None:
        problems.warning(
            "split", f"leaves out {len(left)} patients: {_some(left)}", "add them if they were forgotten", path.name
        )
    return set(parts["training"]) if "training" in parts else None


def check_same_images(cases: Sequence[CaseFacts], problems: Problems) -> None:
    """Look for one file, or one content, in several places.

    Args:
        cases: all cases.
        problems: grows.
    """
    _check_files(cases, problems)
    owners: dict[str, list[tuple[CaseFacts, str]]] = defaultdict(list)
    for facts in cases:
        for image in facts.images.values():
            if image.digest is not None:
                owners[image.digest].append((facts, image.shown))
    for found in owners.values():
        first, shown = found[0]
        for other, file in found[1:]:
            if _path_of(first, shown) == _path_of(other, file):
                continue  # one file listed twice: reported as such
            if other is first:
                problems.warning(
                    "same_image",
                    f"has the same voxels as {shown}",
                    "check the export: two modalities are one image",
                    file,
                    other.entry.name,
                )
            else:
                _report_same(first, other, f"the same voxels as {shown}", file, problems)


def _check_files(cases: Sequence[CaseFacts], problems: Problems) -> None:
    """Report a file that is listed more than once."""
    places: dict[str, list[tuple[CaseFacts, str, str]]] = defaultdict(list)
    for facts in cases:
        for key, path, shown in facts.files:
            places[path].append((facts, key, shown))
    for found in places.values():
        first, as_key, _ = found[0]
        for other, key, shown in found[1:]:
            name = other.entry.name
            if key != as_key:
                what = f"is the '{key}' of this case and the '{as_key}' of case '{first.entry.name}'"
                problems.error("same_file", what, "correct one of the two paths", shown, name)
            elif other is first:
                problems.warning("same_file", "is listed twice in this case", "correct one of the paths", shown, name)
            elif key == "image":
                _report_same(first, other, "the same file", shown, problems)
            else:
                what = f"is also the '{key}' of case '{first.entry.name}'"
                problems.warning("same_file", what, "give each case its own map, unless meant", shown, name)


def _report_same(first: CaseFacts, other: CaseFacts, what: str, file: str, problems: Problems) -> None:
    """Report an image that two cases share: a leak where they are said to be of two patients."""
    mine, theirs = other.entry.patient, first.entry.patient
    name = other.entry.name
    if mine is not None and theirs is not None and patient_key(mine) != patient_key(theirs):
        problems.error(
            "leak",
            f"{what} in case '{first.entry.name}': one image under the patients '{theirs}' and '{mine}', who may come "
            "to lie on two sides of a split",
            "give both cases the same 'patient', or leave one out",
            file,
            name,
        )
    else:
        problems.warning(
            "same_image", f"{what} in case '{first.entry.name}'", "leave one out, unless meant", file, name
        )


def _path_of(facts: CaseFacts, shown: str) -> str:
    return next((path for _, path, name in facts.files if name == shown), shown)


def _report_shared(parts: Mapping[str, set[str]], file: str, problems: Problems) -> None:
    """Report every person who is in more than one part, however the name is written."""
    sides: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for part, names in parts.items():
        for name in sorted(names):
            sides[patient_key(name)].append((part, name))
    for found in sides.values():
        if len({part for part, _ in found}) > 1:
            places = " and ".join(f"'{name}' in '{part}'" for part, name in found)
            problems.error(
                "leak",
                f"one patient on two sides: {places}",
                "keep all cases of a patient on one side, and write the name one way",
                file,
            )


def _by_person(names: Iterable[str]) -> dict[tuple[str, ...], set[str]]:
    people: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for name in names:
        people[patient_key(name)].add(name)
    return people


def _lenient_parts(path: Path) -> dict[str, list[str]]:
    """Read the lists of a split file as far as they can be read; `read_split_file` is strict."""
    try:
        raw = read_json(path)
    except ValueError:
        return {}
    if not isinstance(raw, dict):
        return {}
    folds = raw.get("folds", raw.get("test") if isinstance(raw.get("test"), dict) else None)
    if isinstance(folds, list):
        folds = {f"fold{i + 1}": ids for i, ids in enumerate(folds)}
    if not isinstance(folds, dict):
        folds = {part: raw[part] for part in ("training", "validation", "test") if part in raw}
    return {
        str(name): [item for item in ids if isinstance(item, str) and item]
        for name, ids in folds.items()
        if isinstance(ids, list)
    }


def _some(names: Sequence[str], number: int = 5) -> str:
    return ", ".join(f"'{name}'" for name in names[:number]) + (" ..." if len(names) > number else "")
