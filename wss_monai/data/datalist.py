# SPDX-License-Identifier: Apache-2.0
"""The data list: which cases train, validate and test, as dictionaries in which every key is present."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wss_monai.data.chosen_modalities import with_modalities
from wss_monai.data.given_cases import Given, given_dataset, given_parts
from wss_monai.data.leak_guard import check_no_leak
from wss_monai.data.parts import Parts, default_parts, file_parts, refuse_unknown, take_validation
from wss_monai.data.schema import BACKGROUND, UNLABELLED_NAME, Dataset, class_names_of, read_dataset
from wss_monai.data.splits import find_split_file, read_split_file, stratified
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.kinds import WeakKind

__all__ = ["CASE_KEYS", "DataSplit", "draw_dense", "list_cases", "load_cases"]

CASE_KEYS = (
    "case", "patient", "group", "phase", "image", "label", "weak_label", "label_values", "label_segments",
    "weak_values", "weak_segments", "tags", "slice_tags", "slice_axis", "undrawn_means_absent", "weak_kind",
)  # fmt: skip
"""Keys of every case dictionary."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSplit:
    """Cases of a run, by part, sorted by patient and case.

    Attributes:
        training: case dictionaries with the keys `CASE_KEYS`.
        validation: the same; empty where no patients were set apart.
        test: the same.
        class_names: background first; class indices in the cases count along it.
        dataset: what the cases were read from.
    """

    training: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    test: list[dict[str, Any]]
    class_names: list[str]
    dataset: Dataset

    @property
    def patients(self) -> Parts:
        """Patients of each part, sorted, as run.json records them."""
        parts = {"training": self.training, "validation": self.validation, "test": self.test}
        return {part: sorted({case["patient"] for case in cases}) for part, cases in parts.items()}


def densely(case: dict[str, Any]) -> dict[str, Any]:
    """Let the dense label of a case take the place of the weak one, in a copy."""
    return {**case, "weak_label": None, "weak_kind": WeakKind.DENSE.value}


def load_cases(
    dataset_dir: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    split: str | os.PathLike[str] | None = None,
    fold: int | str | None = None,
    validation: float | str = 0.125,
    seed: int = 0,
    folds: int = 5,
    patients: Sequence[str] | None = None,
    dense: int | Sequence[str] = 0,
    modalities: Sequence[str] | None = None,
    datalist: Given | None = None,
) -> DataSplit:
    """List the cases of a data set, split by patient.

    With a `split` file the file decides (see `read_split_file`): of its folds, `fold` is the test set and all other
    patients train; of an explicit split, its lists are taken and patients that it leaves out are left out. Without
    one, the `test` cases of dataset.json are the test set; where it has none, fold `fold` of `folds` seeded folds,
    stratified by group, is. The result depends neither on the order of the file nor on global random state.

    Args:
        dataset_dir: folder with a `dataset.json`.
        class_names: the classes by name, background first, in the order that the network uses; None: the data set's.
        split: a split file, relative to the current folder or to `dataset_dir`.
        fold: name of a fold, or its index from 0; None: the first. "all": every patient trains and none validates; the
            test set is then the data set's own, or empty.
        validation: number of training patients (int), fraction of them (float, at least one patient), or name of a
            fold, set apart for validation; drawn stratified by group. 0: none. An explicit split that lists
            `validation` takes precedence.
        seed: of the folds and of the draw.
        folds: number of folds where neither a split file nor `test` cases say otherwise.
        patients: use these patients only.
        dense: training patients whose dense label takes the place of the weak one (hybrid supervision): their names,
            or how many to draw with `draw_dense`. 0: none.
        modalities: names of dataset.json's `modality` whose images to take, in this order; None: all.
        datalist: cases in the place of a dataset.json, as `wss_monai.data.given_cases.given_dataset` takes them: a
            list of dictionaries with `image` and `label` or `weak_label`, or a dictionary or file with such lists. All
            train but those that it lists for validation or as tests, unless `split` or `fold` says otherwise.

    Returns:
        The cases of each part; no volume has been opened.

    Raises:
        FileNotFoundError: the data set, a file of it, or the split file is missing.
        ValueError: names, tags, split or patients do not fit; or a patient is on two sides.
    """
    dataset = read_dataset(dataset_dir) if datalist is None else given_dataset(datalist, dataset_dir, class_names)
    if not dataset.training and not dataset.test:
        raise ValueError(f"{dataset.path} lists no case: fill its 'training' list, one entry a volume")
    names = _class_names(class_names, dataset)
    if len(names) < 2:
        raise ValueError(f"{dataset.path}: '{BACKGROUND}' alone cannot be segmented; name another class in 'labels'")
    groups = _groups(dataset)
    wanted = _wanted(patients, groups, dataset)
    file = None if split is None else read_split_file(find_split_file(split, dataset.root))
    if datalist is not None and file is None and fold is None:
        parts, fold_lists, chosen = given_parts(dataset, wanted), dict[str, list[str]](), None
    elif file is None:
        parts, fold_lists, chosen = default_parts(dataset, groups, wanted, fold, folds, seed)
    else:
        parts, fold_lists, chosen = file_parts(file, dataset, groups, wanted, fold)
    if "validation" not in parts and parts["training"]:
        parts = take_validation(parts, validation, fold_lists, chosen, groups, seed)
    counts = {part: len(ids) for part, ids in parts.items()}
    if not parts["training"]:
        raise ValueError(
            f"no patient of '{dataset.path}' is left for training; parts: {counts}. List cases under "
            "'training' in dataset.json, or choose another split, fold or validation"
        )
    used = {patient for ids in parts.values() for patient in ids}
    if left := sorted(set(groups) - used):
        logger.info("left out %d patients of %s that the split does not use: %s", len(left), dataset.path, left)
    cases = _cases(dataset, names, used)
    if modalities is not None:
        cases = [with_modalities(case, modalities, dataset) for case in cases]
    members = {part: set(parts.get(part, [])) for part in ("training", "validation", "test")}
    lists = {part: [case for case in cases if case["patient"] in ids] for part, ids in members.items()}
    check_no_leak(**lists)
    chosen_dense = draw_dense(lists["training"], dense, seed) if isinstance(dense, int) else list(dense)
    lists["training"] = _densely(lists["training"], chosen_dense)
    return DataSplit(**lists, class_names=names, dataset=dataset)


def list_cases(dataset: Dataset, class_names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """List all cases of a data set, training and test, sorted by patient and case, without splitting them.

    Args:
        dataset: as `read_dataset` gives it.
        class_names: as in `load_cases`.

    Returns:
        Dictionaries with the keys `CASE_KEYS`.

    Raises:
        ValueError: class_names does not fit the classes of a case, or a case has no image.
    """
    return _cases(dataset, _class_names(class_names, dataset), set(_groups(dataset)))


def draw_dense(cases: Sequence[Mapping[str, Any]], k: int, seed: int) -> list[str]:
    """Draw k patients that have dense labels, stratified by group; the same ones wherever the seed is the same.

    Args:
        cases: training cases as `load_cases` lists them.
        k: how many patients.
        seed: of the draw.

    Returns:
        The patients, sorted.

    Raises:
        ValueError: k is negative or larger than the number of patients whose every case has a dense label.
    """
    without = {case["patient"] for case in cases if case["label"] is None}
    groups = {case["patient"]: case["group"] for case in cases if case["patient"] not in without}
    if not 0 <= k <= len(groups):
        raise ValueError(
            f"dense={k}: it must lie between 0 and the {len(groups)} training patients with dense labels of all cases"
        )
    return stratified(groups, groups, k, np.random.RandomState(seed))


def _densely(cases: list[dict[str, Any]], patients: Sequence[str]) -> list[dict[str, Any]]:
    """Let the dense label take the place of the weak one for some patients."""
    known, chosen = {case["patient"] for case in cases}, set(patients)
    if unknown := sorted(chosen - known):
        raise ValueError(f"dense names {unknown}, who are no training patients; those are {sorted(known)}")
    if lacking := [c["case"] for c in cases if c["patient"] in chosen and c["label"] is None]:
        raise ValueError(f"dense names patients whose cases {lacking} have no dense label")
    return [densely(case) if case["patient"] in chosen else case for case in cases]


def _class_names(class_names: Sequence[str] | None, dataset: Dataset) -> list[str]:
    if class_names is None:
        return list(dataset.class_names)
    if isinstance(class_names, str):
        raise ValueError(f"class_names must be a list of names, got the text {class_names!r}")
    names = list(class_names)
    if not names or names[0] != BACKGROUND or len(set(names)) != len(names):
        raise ValueError(f"class_names must start with '{BACKGROUND}' and name each class once, got {names}")
    return names


def _groups(dataset: Dataset) -> dict[str, str | None]:
    """Map each patient to the group that the cases give, None where they give none."""
    groups: dict[str, str | None] = {}
    for case in dataset.training + dataset.test:
        patient, group = case["patient"], case.get("group")
        known = groups.setdefault(patient, group)
        if known is None:
            groups[patient] = group
        elif group is not None and group != known:
            raise ValueError(f"{dataset.path}: patient '{patient}' has the groups '{known}' and '{group}'; keep one")
    return groups


def _wanted(patients: Sequence[str] | None, groups: Mapping[str, Any], dataset: Dataset) -> set[str]:
    if patients is None:
        return set(groups)
    if isinstance(patients, str):
        raise ValueError(f"patients must be a list of names, got the text {patients!r}")
    refuse_unknown(patients, groups, "patients", dataset)
    return set(patients)


def _cases(dataset: Dataset, names: list[str], used: set[str]) -> list[dict[str, Any]]:
    cases = [case for case in dataset.training + dataset.test if case["patient"] in used]
    return [_case(case, dataset, names) for case in sorted(cases, key=lambda case: (case["patient"], case["case"]))]


def _case(case: dict[str, Any], dataset: Dataset, names: list[str]) -> dict[str, Any]:
    """Make the dictionary of one case: absolute paths, class indices by name, every key."""
    labels = dataset.labels_of(case)
    own = class_names_of(labels)
    lacking, strange = [n for n in names if n not in own], [n for n in own if n not in names]
    if lacking or strange:
        raise ValueError(
            f"classes of case '{case['case']}' in {dataset.path}, {own}, do not match class_names {names}: the case "
            f"lacks {lacking}, class_names lacks {strange}. Override class_names with the data set's names, or "
            f"rename the values in its 'labels' (values may share a name; '{BACKGROUND}' takes what is not wanted)"
        )
    if case.get("image") is None:
        raise ValueError(f"case '{case['case']}' in {dataset.path} has no 'image', which every run needs")
    index = {name: i for i, name in enumerate(names)}
    order = [own.index(name) for name in names]
    tags, rows = case.get("tags"), case.get("slice_tags")
    weak = dataset.weak_of(case)
    return {
        "case": case["case"],
        "patient": case["patient"],
        "group": case.get("group"),
        "phase": case.get("phase"),
        "image": dataset.file_of(case, "image"),
        "label": dataset.file_of(case, "label"),
        "weak_label": dataset.file_of(case, "weak_label"),
        "label_values": {value: index[name] for value, name in labels.items()},
        "label_segments": index | {segment: index[name] for segment, name in dataset.segments_of(case).items()},
        "weak_values": {
            value: index.get(meant, UNLABELLED) if isinstance(meant, str) else [index[n] for n in meant if n in index]
            for value, meant in weak.values.items()
        },
        "weak_segments": index
        | {UNLABELLED_NAME: UNLABELLED}
        | {segment: index.get(name, UNLABELLED) for segment, name in weak.segments.items()},
        "tags": [-1] * len(names) if tags is None else [tags[i] for i in order],
        "slice_tags": None if rows is None else [[row[i] for i in order] for row in rows],
        "slice_axis": dataset.slice_axis,
        "undrawn_means_absent": weak.undrawn_means_absent,
        "weak_kind": weak.kind,
    }
