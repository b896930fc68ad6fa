# SPDX-License-Identifier: Apache-2.0
"""Splits of patients: seeded draws and folds stratified by group, and the split file. Nothing here knows cases."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_json

__all__ = ["SplitFile", "find_split_file", "kfold", "read_split_file", "stratified"]

Groups = Mapping[str, "str | None"]


def stratified(patients: Iterable[str], groups: Groups, n: int, R: np.random.RandomState) -> list[str]:
    """Draw `n` patients, from each group in proportion to its size.

    Shares that are no whole numbers go to the groups with the largest remainders, ties by lot. The draw does not
    depend on the order of `patients`.

    Args:
        patients: patient ids, without repetition.
        groups: patient -> group; patients that are missing here form one group.
        n: how many to draw.
        R: source of randomness.

    Returns:
        The drawn patients, sorted.

    Raises:
        ValueError: a patient comes twice, or `n` is negative or larger than the number of patients.
    """
    strata = _strata(patients, groups)
    total = sum(map(len, strata))
    if not 0 <= n <= total:
        raise ValueError(f"n must lie between 0 and the number of patients, {total}; got {n}")
    if n == 0:
        return []
    shares = np.array([n * len(stratum) / total for stratum in strata])
    counts = np.floor(shares + 1e-9).astype(int)
    lot = R.permutation(len(strata))
    by_remainder = sorted(range(len(strata)), key=lambda i: (-round(float(shares[i] - counts[i]), 9), lot[i]))
    for i in by_remainder[: n - int(counts.sum())]:
        counts[i] += 1
    shuffled = [[stratum[j] for j in R.permutation(len(stratum))] for stratum in strata]
    return sorted(patient for ids, count in zip(shuffled, counts, strict=True) for patient in ids[:count])


def kfold(patients: Iterable[str], groups: Groups, k: int, seed: int = 0) -> list[list[str]]:
    """Deal patients into `k` folds, group by group, so that fold sizes and group shares differ by one at most.

    Args:
        patients: patient ids, without repetition, in any order.
        groups: patient -> group; patients that are missing here form one group.
        k: number of folds, from 2 to the number of patients.
        seed: of the shuffle within each group.

    Returns:
        `k` sorted lists of patients.

    Raises:
        ValueError: a patient comes twice, or `k` is out of range.
    """
    strata = _strata(patients, groups)
    total = sum(map(len, strata))
    if not 2 <= k <= total:
        raise ValueError(f"folds must lie between 2 and the number of patients, {total}; got {k}")
    R = np.random.RandomState(seed)
    shuffled = [stratum[j] for stratum in strata for j in R.permutation(len(stratum))]
    return [sorted(shuffled[i::k]) for i in range(k)]


def patient_count(size: float, total: int, name: str = "size") -> int:
    """Turn a number (int), or a fraction of `total` (float in [0, 1); at least one where above 0), into a number.

    Raises:
        ValueError: `size` is neither.
    """
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not size >= 0:
        raise ValueError(f"{name} must be a number of patients or a fraction below 1, got {size!r}")
    if isinstance(size, int):
        return size
    if size >= 1:
        raise ValueError(f"{name}={size!r} is no fraction below 1; write a whole number to ask for that many patients")
    return max(1, round(size * total)) if size > 0 else 0


@dataclass(frozen=True)
class SplitFile:
    """What a split file says: either `folds`, or `training` with `validation` and `test`.

    Attributes:
        path: the file.
        patients: the only patients to use, None for all of the data set.
        folds: name -> test patients of the fold, None in an explicit split.
        parts: explicit split: `training`, and those of `validation` and `test` that the file has; else None.
        labelled: explicit split: name (such as "3") -> training patients with labels in semi-supervision; else empty.
    """

    path: Path
    patients: list[str] | None
    folds: dict[str, list[str]] | None
    parts: dict[str, list[str]] | None
    labelled: dict[str, list[str]] = field(default_factory=dict)

    def fold_name(self, fold: int | str | None) -> str:
        """Give the name of a fold: by name, by index from 0, or the first one for None.

        Raises:
            ValueError: the file has no such fold.
        """
        return fold_name(fold, list(self.folds or {}), f"split file {self.path}")


def fold_name(fold: int | str | None, names: Sequence[str], where: str) -> str:
    """Find a fold among `names`: by name, by index from 0, or the first for None.

    Raises:
        ValueError: there is no such fold; the message names `where` they come from.
    """
    if fold is None:
        return names[0]
    if isinstance(fold, int) and not isinstance(fold, bool) and 0 <= fold < len(names):
        return names[fold]
    if isinstance(fold, str) and fold in names:
        return fold
    raise ValueError(f"no fold {fold!r} in the {where}; it has {list(names)} (or 0 to {len(names) - 1})")


def find_split_file(split: str | os.PathLike[str], root: Path) -> Path:
    """Find a split file, named relative to the current folder or to the data set's folder `root`.

    Raises:
        FileNotFoundError: it is in neither.
    """
    for path in (Path(split), root / split):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no split file '{split}', neither in the current folder nor in '{root}'")


def read_split_file(path: str | os.PathLike[str]) -> SplitFile:
    """Read a split file.

    One of three forms, each with an optional `patients` list (the only ones to use):
    `{"test": {"fold1": [patients], ...}}`, `{"folds": {"fold1": [patients], ...}}` (a plain list of lists is named
    fold1, fold2 ...), or `{"training": [...], "validation": [...], "test": [...]}` of which `training` is required.
    The last may list training patients with labels for semi-supervision: `"labelled": {"3": [...], "7": [...]}`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, has none of the forms, puts one patient into two parts, or lists as labelled who
            does not train, or another number of patients than the list's name says.
    """
    path = Path(path)
    try:
        raw = read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no split file '{path}'") from None
    if not isinstance(raw, dict):
        raise FormatFault(path, f"a split file holds a JSON object, got {type(raw).__name__}")
    patients = None if raw.get("patients") is None else _ids(raw["patients"], path, "patients")
    folds = raw.get("folds", raw.get("test") if isinstance(raw.get("test"), dict) else None)
    if folds is not None:
        if isinstance(folds, list):
            folds = {f"fold{i + 1}": fold for i, fold in enumerate(folds)}
        if not isinstance(folds, dict) or not folds:
            raise FormatFault(path, f"folds must be an object of lists of patients, got {folds!r}")
        parts = {name: _ids(ids, path, name) for name, ids in folds.items()}
        _disjoint(parts, path)
        if raw.get("labelled") is not None:
            raise FormatFault(path, "'labelled' goes with an explicit split, {\"training\": [patients], ...}")
        return SplitFile(path, patients, parts, None)
    if "training" in raw:
        parts = {part: _ids(raw[part], path, part) for part in ("training", "validation", "test") if part in raw}
        _disjoint(parts, path)
        return SplitFile(path, patients, None, parts, _labelled(raw.get("labelled"), parts["training"], path))
    forms = 'neither {"test": {"fold1": [patients], ...}} nor {"training": [...], "validation": [...], "test": [...]}'
    raise FormatFault(path, f"{forms}; it has the keys {sorted(raw)}")


def _ids(ids: Any, path: Path, part: str) -> list[str]:
    if not isinstance(ids, list) or not all(isinstance(item, str) and item for item in ids):
        raise FormatFault(path, f"'{part}' must be a list of patient names, got {ids!r}")
    twice = sorted(item for item, count in Counter(ids).items() if count > 1)
    if twice:
        raise FormatFault(path, f"'{part}' names {twice} twice", "name each patient once")
    return ids


def _labelled(lists: Any, training: list[str], path: Path) -> dict[str, list[str]]:
    """Read the lists of labelled training patients."""
    if lists is None:
        return {}
    if not isinstance(lists, dict):
        raise FormatFault(path, f"'labelled' must be an object of lists of training patients, got {lists!r}")
    for name, ids in lists.items():
        if strange := sorted(set(_ids(ids, path, f"labelled {name}")) - set(training)):
            raise FormatFault(path, f"'labelled' {name} names {strange}, who are not in 'training'")
        if not ids or (name.isdecimal() and int(name) != len(ids)):
            raise FormatFault(path, f"'labelled' {name} lists {len(ids)} patients", "mend the list or its name")
    return dict(lists)


def _disjoint(parts: Mapping[str, list[str]], path: Path) -> None:
    seen: dict[str, str] = {}
    for part, ids in parts.items():
        for patient in ids:
            if patient in seen:
                raise FormatFault(
                    path, f"patient '{patient}' is in '{seen[patient]}' and in '{part}'", "leave it in one"
                )
            seen[patient] = part


def _strata(patients: Iterable[str], groups: Groups) -> list[list[str]]:
    """Sort patients into lists, one a group, both in a fixed order."""
    ids = sorted(patients)
    twice = sorted({a for a, b in pairwise(ids) if a == b})
    if twice:
        raise ValueError(f"patients {twice} come twice; name each patient once")
    strata: dict[str, list[str]] = {}
    for patient in ids:
        strata.setdefault(groups.get(patient) or "", []).append(patient)
    return [strata[group] for group in sorted(strata)]
