# SPDX-License-Identifier: Apache-2.0
"""Which training cases keep their labels and which are used without, for semi-supervision."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.datalist import DataSplit, densely, load_cases
from wss_monai.data.given_cases import Given, validation_given
from wss_monai.data.leak_guard import warn_of_shared_patients
from wss_monai.data.splits import find_split_file, patient_count, read_split_file, stratified
from wss_monai.functional.weak.kinds import WeakKind

__all__ = ["SemiSupervisedSplit", "load_semi_supervised"]

LABELS = {"dense": "label", "weak": "weak_label"}
"""What can teach -> the entry of a case that holds it."""
VALIDATION_SEED = 1
"""Of the validation scans in the published split by scan."""

logger = logging.getLogger(__name__)
Cases = list[dict[str, Any]]
Choice = int | float | str | Sequence[str] | None


@dataclass(frozen=True)
class SemiSupervisedSplit(DataSplit):
    """Cases of a semi-supervised run; `training` is `labelled` and then `unlabelled`, who may be the same patients.

    Attributes:
        labelled: training cases that keep their labels, sorted by patient and case.
        unlabelled: training cases that have lost labels and tags, in the same order.
    """

    labelled: Cases
    unlabelled: Cases

    @property
    def patients(self) -> dict[str, list[str]]:
        """Patients of each part, sorted, as run.json records them; with the parts labelled and unlabelled."""
        parts = {"labelled": self.labelled, "unlabelled": self.unlabelled}
        own = {part: sorted({case["patient"] for case in cases}) for part, cases in parts.items()}
        return {**super().patients, **own}

    def require_unlabelled(self, mode: str) -> None:
        """Refuse a split without unlabelled cases for a mode that learns from them.

        Raises:
            ValueError: there is none.
        """
        if not self.unlabelled:
            raise ValueError(
                f"mode '{mode}' learns from unlabelled cases, but all {len(self.labelled)} training cases of "
                f"{self.dataset.path} that are used are labelled: ask for fewer labelled patients (--labelled), list "
                "images without labels in dataset.json, or choose a mode that uses labelled cases alone."
            )


def load_semi_supervised(
    dataset_dir: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    split: str | os.PathLike[str] | None = None,
    fold: int | str | None = None,
    validation: float | str = 0.125,
    seed: int = 0,
    labelled: Choice = None,
    unlabelled: Choice = None,
    split_seed: int = 0,
    by: str = "patient",
    labels: str = "dense",
    folds: int = 5,
    patients: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    datalist: Given | None = None,
) -> SemiSupervisedSplit:
    """List the cases of a data set with labels for a few training patients and images alone of the others.

    Test and validation patients are taken as in `load_cases`, with `split_seed`, and keep all that they have; those
    for validation are drawn from the patients with labels. Of the others some are drawn as labelled, stratified by
    group, then some as unlabelled. A labelled case has one kind of label, the one that `labels` names; a dense one
    takes the place of the weak one. An unlabelled case has none, and tags that say nothing.

    By scan, the split published with mutual-information semi-supervision (arXiv 2103.04813) is made, for comparison:
    labelled are the scans that `sklearn.model_selection.train_test_split(scans, test_size=1 - ratio,
    random_state=split_seed)` leaves for training, and validation scans are drawn from the unlabelled ones with seed
    1, and trained on all the same. Two scans of a patient can be on two sides; a warning names them. Test patients
    stay apart.

    Args:
        dataset_dir: as `class_names`, `split`, `fold`, `folds`, `patients` and `modalities` in `load_cases`.
        class_names: see there.
        split: see there. An explicit split file may list labelled patients: `"labelled": {"3": [...]}`.
        fold: see there.
        validation: see there, but counted among patients with labels; by scan a number of the unlabelled scans (int)
            or a fraction of them, unless the split file lists validation patients, who then stay apart.
        seed: of the training; it is taken so that a configuration can pass it, and changes nothing here.
        labelled: number of training patients (int), ratio of them (float, at least one), their names, "all" for every
            training patient (none is unlabelled), None for those with labels of all their cases. A number (or a name)
            that the split file lists under `labelled` takes that list, whatever `split_seed` is. By scan: scans.
        unlabelled: number, ratio or names of the patients (scans) used without labels, the rest is left out; None: all
            that are not labelled; "all": all for training, those with labels once more without them (as in the
            published upper bound).
        split_seed: of every draw: folds, validation, labelled, unlabelled.
        by: "patient", or "scan" for the published split.
        labels: "dense" or "weak".
        folds: see `load_cases`.
        patients: see there.
        modalities: see there.
        datalist: see there.

    Returns:
        The cases of each part; no volume has been opened.

    Raises:
        FileNotFoundError: the data set, a file of it, or the split file is missing.
        ValueError: an option is not what it can be, more patients are asked for than there are, names are unknown, or
            what `load_cases` refuses.
    """
    del seed
    for name, value, known in (("by", by, ("patient", "scan")), ("labels", labels, tuple(LABELS))):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    base = load_cases(
        dataset_dir,
        class_names,
        split,
        fold,
        validation if by == "patient" and isinstance(validation, str) else 0,
        split_seed,
        folds,
        patients,
        modalities=modalities,
        datalist=datalist,
    )
    file = None if split is None else read_split_file(find_split_file(split, Path(base.dataset.root)))
    apart = file is not None and "validation" in (file.parts or {})
    apart = apart or (file is None and fold is None and validation_given(base.dataset))
    lists = {} if file is None else file.labelled
    if isinstance(labelled, (int, str)) and str(labelled) in lists:
        labelled = lists[str(labelled)]
    key = "patient" if by == "patient" else "case"
    about = (key, LABELS[labels], f"{labels} labels", str(base.dataset.path))
    pool = _Pool(base.training, *about)
    training, validating = base.training, base.validation
    if by == "patient" and not apart and not isinstance(validation, str):
        taken = _validation_patients(pool, validation, split_seed)
        validating = [case for case in training if case[key] in taken]
        training = [case for case in training if case[key] not in taken]
        pool = _Pool(training, *about)
    chosen = _labelled(pool, labelled, split_seed, list(lists))
    hidden = _unlabelled(pool, unlabelled, pool.without(chosen), split_seed)
    with_labels = [
        densely(case) if labels == "dense" else {**case, "label": None} for case in training if case[key] in chosen
    ]
    without_labels = [_without_label(case) for case in training if case[key] in hidden]
    if by == "scan":
        if not apart:
            validating = _validation_scans(training, hidden, validation)
        held_out = {case["case"] for case in validating}
        warn_of_shared_patients(
            labelled=with_labels,
            unlabelled=[case for case in without_labels if case["case"] not in held_out],
            validation=validating,
        )
    if pool.partly:
        logger.info(
            "%d patients have %s of some cases only and cannot be labelled: %s",
            *(len(pool.partly), pool.labels, pool.partly),
        )
    if left := sorted(set(pool.names) - chosen - hidden):
        logger.info("left out %d %ss, neither labelled nor unlabelled: %s", len(left), by, left)
    return SemiSupervisedSplit(
        training=with_labels + without_labels,
        validation=validating,
        test=base.test,
        class_names=base.class_names,
        dataset=base.dataset,
        labelled=with_labels,
        unlabelled=without_labels,
    )


class _Pool:
    """The training patients (or scans), and which of them have labels."""

    def __init__(self, cases: Cases, key: str, entry: str, labels: str, path: str) -> None:
        self.by = "patient" if key == "patient" else "scan"
        self.labels = labels
        self.path = path
        self.names = list(dict.fromkeys(str(case[key]) for case in cases))
        self.groups: Mapping[str, str] = {case[key]: case["group"] for case in cases if case["group"] is not None}
        without = {case[key] for case in cases if case[entry] is None}
        self.with_labels = [name for name in self.names if name not in without]
        if not self.with_labels:
            raise ValueError(
                f"none of the {len(self.names)} training {self.by}s of {path} has {labels} of all its cases: list them "
                f"as '{entry}' in dataset.json for a few at least"
            )
        self.partly = sorted({case[key] for case in cases if case[entry] is not None} & without)

    def without(self, chosen: set[str]) -> list[str]:
        return [name for name in self.names if name not in chosen]

    def draw(self, names: Sequence[str], n: int, seed: int) -> set[str]:
        R = np.random.RandomState(seed)
        if self.by == "patient":
            return set(stratified(names, self.groups, n, R))
        return {names[i] for i in R.permutation(len(names))[len(names) - n :]}

    def count(self, name: str, value: float) -> int:
        """Turn a number or ratio into a number, as `patient_count`; a ratio of scans is rounded as sklearn does."""
        n = patient_count(value, len(self.names), name)
        if self.by == "scan" and isinstance(value, float):
            n = max(1, len(self.names) - ceil((1 - value) * len(self.names))) if value > 0 else 0
        return n

    def named(self, option: str, names: Sequence[str], known: Sequence[str], what: str) -> set[str]:
        if strange := sorted(set(names) - set(known)):
            raise ValueError(
                f"{option} names {strange}, who are no {what}; those are {sorted(known)} (who validates or tests is "
                "set apart before: list them in a split file, or set validation to 0)"
            )
        return set(names)


def _labelled(pool: _Pool, choice: Choice, seed: int, lists: Sequence[str]) -> set[str]:
    """Choose the labelled patients or scans."""
    total, having = len(pool.names), len(pool.with_labels)
    if choice is None:
        return set(pool.with_labels)
    what = f"training {pool.by}s with {pool.labels} of all their cases"
    if isinstance(choice, str):
        if choice != "all":
            raise ValueError(
                f"labelled={choice!r} is neither 'all' nor a number, a ratio, a list of {pool.by}s or the name of a "
                f"list in the split file ({list(lists) or 'it has none'})"
            )
        if having < total:
            lacking = sorted(set(pool.names) - set(pool.with_labels))
            raise ValueError(
                f"labelled='all' asks for all {total} training {pool.by}s, but {having} have {pool.labels} of all "
                f"their cases: {lacking} do not; pass null to take those who have"
            )
        return set(pool.names)
    if isinstance(choice, Sequence):
        if not choice:
            raise ValueError(f"labelled names no {pool.by}; name at least one")
        return pool.named("labelled", choice, pool.with_labels, what)
    if isinstance(choice, float) and choice == 1:
        raise ValueError(f"labelled={choice!r}: write 'all' for every training {pool.by}, 1 for one of them")
    n = pool.count("labelled", choice)
    if not 1 <= n <= having:
        raise ValueError(f"labelled={choice!r} asks for {n}, but it must be from 1 to {having}, the number of {what}")
    return pool.draw(pool.with_labels, n, seed)


def _unlabelled(pool: _Pool, choice: Choice, rest: Sequence[str], seed: int) -> set[str]:
    """Choose the unlabelled patients or scans, out of those that are not labelled unless all are wanted."""
    if choice is None:
        return set(rest)
    what = f"training {pool.by}s that are not labelled"
    if choice == "all":
        return set(pool.names)
    if isinstance(choice, str):
        raise ValueError(f"unlabelled must be null, 'all', a number, a ratio or a list of {pool.by}s, got {choice!r}")
    if isinstance(choice, Sequence):
        return pool.named("unlabelled", choice, rest, what)
    n = pool.count("unlabelled", choice)
    if isinstance(choice, float):
        n = min(n, len(rest))  # ratios that add up to 1 may both be rounded up
    if n > len(rest):
        raise ValueError(f"unlabelled={choice!r} asks for {n}, but there are {len(rest)} {what}")
    return pool.draw(rest, n, seed)


def _validation_patients(pool: _Pool, validation: float, seed: int) -> set[str]:
    """Draw validation patients out of those with labels."""
    n = patient_count(validation, len(pool.with_labels), "validation")
    if n >= len(pool.with_labels):
        raise ValueError(
            f"validation={validation!r} takes {n} of the {len(pool.with_labels)} training patients with "
            f"{pool.labels}, so that none is left; ask for fewer (0 = no validation)"
        )
    return pool.draw(pool.with_labels, n, seed)


def _validation_scans(training: Cases, unlabelled: set[str], validation: float | str) -> Cases:
    """Draw validation scans out of the unlabelled ones, as published; they keep their labels here."""
    scans = [case for case in training if case["case"] in unlabelled]
    if isinstance(validation, str):
        raise ValueError(f"validation={validation!r}: by scan it is a number of unlabelled scans")
    n = patient_count(validation, len(scans), "validation") if scans else 0
    if n > len(scans):
        raise ValueError(f"validation={validation!r} asks for {n} scans, but there are {len(scans)} unlabelled ones")
    drawn = np.random.RandomState(VALIDATION_SEED).permutation(len(scans))[:n]
    return [scans[i] for i in sorted(drawn)]


def _without_label(case: dict[str, Any]) -> dict[str, Any]:
    """Take labels away: maps become 255 (unlabelled) and tags -1 (unknown), and nothing is read as absent."""
    rows = case["slice_tags"]
    return {
        **case,
        "label": None,
        "weak_label": None,
        "tags": [-1] * len(case["tags"]),
        "slice_tags": None if rows is None else [[-1] * len(row) for row in rows],
        "undrawn_means_absent": False,
        "weak_kind": WeakKind.NOTHING.value,
    }
