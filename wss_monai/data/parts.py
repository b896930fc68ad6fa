# SPDX-License-Identifier: Apache-2.0
"""Who trains, who validates, who is for tests: by folds, by a split file, or as the data set says."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.data.dataset import Dataset
from wss_monai.data.splits import SplitFile, fold_name, kfold, patient_count, stratified

__all__ = ["ALL", "Parts", "default_parts", "file_parts", "refuse_unknown", "take_validation"]

Parts = dict[str, list[str]]
ALL = "all"
"""The fold that leaves nobody out."""

logger = logging.getLogger("wss_monai.data.datalist")


def default_parts(
    dataset: Dataset, groups: dict[str, str | None], wanted: set[str], fold: int | str | None, folds: int, seed: int
) -> tuple[Parts, Parts, str | None]:
    """Split without a file: the test cases of dataset.json, else seeded folds."""
    training = {case["patient"] for case in dataset.training}
    test = {case["patient"] for case in dataset.test}
    if test:
        _refuse_shared(training, test, dataset)
        if fold == ALL:
            return {"training": sorted(training & wanted), "validation": [], "test": sorted(test & wanted)}, {}, None
        if fold is not None:
            logger.warning("fold=%r is not used: %s has test cases of its own", fold, dataset.path)
        return {"training": sorted(training & wanted), "test": sorted(test & wanted)}, {}, None
    if fold == ALL:
        return {"training": sorted(wanted), "validation": [], "test": []}, {}, None
    if len(wanted) == 1:
        raise ValueError(
            f"{dataset.path} has one patient, {min(wanted)!r}, who cannot both train and be scored: add patients, or "
            "train on this one alone with --fold all, which scores nobody"
        )
    try:
        lists = kfold(wanted, groups, folds, seed)
    except ValueError as error:
        raise ValueError(
            f"{dataset.path}: {error}; pass --data#folds {max(2, len(wanted))} or fewer, a split file, or --fold all "
            "to train on everybody"
        ) from error
    named = {f"fold{i + 1}": ids for i, ids in enumerate(lists)}
    chosen = fold_name(fold, list(named), f"{folds} seeded folds")
    return {"training": sorted(wanted - set(named[chosen])), "test": named[chosen]}, named, chosen


def _refuse_shared(training: set[str], test: set[str], dataset: Dataset) -> None:
    if shared := sorted(training & test):
        raise ValueError(f"{dataset.path}: leak: patients {shared} are in 'training' and in 'test'; keep each in one")


def file_parts(
    file: SplitFile, dataset: Dataset, groups: dict[str, str | None], wanted: set[str], fold: int | str | None
) -> tuple[Parts, Parts, str | None]:
    """Split as a file says."""
    listed = [*(file.patients or []), *(p for ids in (file.folds or file.parts or {}).values() for p in ids)]
    refuse_unknown(listed, groups, f"split file {file.path}", dataset)
    wanted = wanted if file.patients is None else wanted & set(file.patients)
    if file.parts is not None:
        if fold is not None:
            logger.warning("fold=%r is not used: split file %s has no folds", fold, file.path)
        parts = {part: sorted(set(ids) & wanted) for part, ids in file.parts.items()}
        return {"test": [], **parts}, {}, None
    named = {name: sorted(set(ids) & wanted) for name, ids in (file.folds or {}).items()}
    listed += [case["patient"] for case in dataset.training]
    others = set(listed) & wanted
    if fold == ALL:
        return {"training": sorted(others), "validation": [], "test": []}, named, None
    chosen = file.fold_name(fold)
    return {"training": sorted(others - set(named[chosen])), "test": named[chosen]}, named, chosen


def take_validation(
    parts: Parts, validation: float | str, folds: Parts, chosen: str | None, groups: dict[str, str | None], seed: int
) -> Parts:
    """Move the validation patients out of the training patients."""
    training = parts["training"]
    if isinstance(validation, str):
        if not folds:
            raise ValueError(f"validation='{validation}' names a fold, but there are none; pass a number of patients")
        name = fold_name(validation, list(folds), "folds of this split")
        if name == chosen:
            raise ValueError(f"validation='{validation}' is the test fold; validate on another of {list(folds)}")
        taken = folds[name]
    else:
        n = patient_count(validation, len(training), "validation")
        if n >= max(len(training), 1) and n > 0:
            raise ValueError(
                f"validation={validation!r} takes {n} of {len(training)} training patients, so that none is left; "
                "ask for fewer (0 = no validation)"
            )
        taken = stratified(training, groups, n, np.random.RandomState(seed))
    return {**parts, "training": sorted(set(training) - set(taken)), "validation": taken}


def refuse_unknown(ids: Sequence[str], groups: Mapping[str, Any], where: str, dataset: Dataset) -> None:
    """Refuse names of patients whom the data set has not; ``where`` they stand is named.

    Raises:
        ValueError: there are some.
    """
    if unknown := sorted(set(ids) - set(groups)):
        raise ValueError(
            f"{where} names {unknown}, who are not in {dataset.path}: {len(unknown)} of {len(set(ids))} names (it has "
            f"{len(groups)} patients, e.g. {sorted(groups)[:3]}); prepare all, use the names of its 'patient' entries"
        )
