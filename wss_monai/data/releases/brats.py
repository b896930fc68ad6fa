# SPDX-License-Identifier: Apache-2.0
"""BraTS releases from 2013 on (Menze et al., IEEE TMI 2015, doi:10.1109/TMI.2014.2377694) as data sets of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.label_semantics import BACKGROUND
from wss_monai.data.releases.brats_files import MODALITIES, BratsCase, find_brats_cases, modality_names, patient_of
from wss_monai.data.releases.modalities import check_label_grid, on_one_grid
from wss_monai.data.releases.preparation import Entry, Preparation, preparation, some
from wss_monai.data.releases.volumes import as_values, copy_image, load_volume
from wss_monai.data.simulated_tags import TAGGED, TAGS_TEXT, checked_class_name, file_word, slice_tags
from wss_monai.io.nifti_files import write_like

__all__ = ["WHOLE_TUMOUR", "prepare_brats"]

WHOLE_TUMOUR = "whole tumour"
OLD = {
    "0": BACKGROUND,
    "1": "necrotic core",
    "2": "oedema",
    "3": "non-enhancing tumour",
    "4": "enhancing tumour",
}
"""Values up to 2021; 3 is used up to 2016 only, and 1 includes non-enhancing tumour from 2017 on."""
NEW = {"0": BACKGROUND, "1": "necrotic core", "2": "oedema", "3": "enhancing tumour", "4": "resection cavity"}
"""Values from 2023 on; 4 occurs after treatment (2024), and is no tumour."""
RARE = {False: "3", True: "4"}
"""The value, by whether the release is from 2023 on, that only some releases have."""
_NEW_NAME = re.compile(r"BraTS-([A-Za-z]+)-", re.I)
_SAME_VALUES = ("GLI", "MEN", "MET", "SSA")
"""Challenges from 2023 on whose values mean what `NEW` says."""


@dataclass
class _Plan:
    """What is wanted of every case."""

    modalities: list[str]
    labels: dict[str, str]
    done: Preparation
    seen: set[int]


def prepare_brats(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    modalities: Sequence[str] | None = None,
    merge: str | None = WHOLE_TUMOUR,
    skip_incomplete: bool = False,
    patients: Sequence[str] | None = None,
) -> Preparation:
    """Convert a BraTS release to a folder with `dataset.json`, images/ (a file a modality) and labels/.

    A case is a folder with one NIfTI file a modality and the segmentation, named as in any release from 2013 to 2024:
    CASE_flair.nii.gz (t1, t1ce, t2, seg) or CASE-t2f.nii.gz (t1n, t1c, t2w, seg). Folders HGG and LGG become `group`.
    From 2023 on `patient` is the case without its time point. Modalities on another grid than the first one are
    resampled, which is noted, or refused (`wss_monai.data.releases.modalities.on_one_grid`). A case without
    segmentation is kept without tags, with a note. `slice_tags` are read off the segmentations. The result appears
    under `out` complete or not at all.

    Args:
        source: the folder, at any depth above the cases.
        out: the folder to make.
        modalities: which, in this order, by the words of any release; None: T1, T1c, T2, FLAIR.
        merge: name of the one class that all tumour labels become; None: they are kept apart.
        skip_incomplete: leave out cases that lack a modality, in place of an error, and do not count the cases that
            cannot be converted as failures.
        patients: convert the cases of these only; each must be there.

    Returns:
        Counts and notes.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: there is no such folder.
        ValueError: cases lack a modality (the message names them), releases of two namings are mixed, or no case is
            left. A case that cannot be read or does not fit is left out and named in ``failed``.
    """
    source = Path(source)
    if not source.is_dir():
        raise FileNotFoundError(
            f"source '{source}' is no folder; give the folder that the BraTS archive was unpacked to (data/README.md "
            "says how to get it)"
        )
    names = modality_names(modalities)
    with preparation(out) as done:
        cases, done.notes = find_brats_cases(source)
        cases = _chosen(cases, patients)
        labels, new = _labels(cases, merge)
        cases = _complete(cases, names, skip_incomplete, done.notes)
        plan = _Plan(names, labels, done, set())
        entries = _convert_all({case.name: case for case in cases}, plan, skip_incomplete)
        if RARE[new] not in map(str, plan.seen):
            labels = _without(labels, RARE[new], entries)
        elif labels[RARE[new]] == BACKGROUND:
            done.notes.append(("labels", f"value {RARE[new]}, {NEW[RARE[new]]}, is no tumour: taken as background"))
        done.finish(_description(names, labels, entries))
    return done


def _chosen(cases: list[BratsCase], patients: Sequence[str] | None) -> list[BratsCase]:
    if patients is None:
        return cases
    known = {patient_of(case.name) for case in cases}
    if missing := sorted(set(patients) - known):
        raise ValueError(f"patients {missing} are not in the source; it has {len(known)}: {sorted(known)[:3]} ...")
    return [case for case in cases if patient_of(case.name) in set(patients)]


def _labels(cases: Sequence[BratsCase], merge: str | None) -> tuple[dict[str, str], bool]:
    """Give the value map of the release, and whether it is one from 2023 on."""
    kinds = {case.name: match[1].upper() if (match := _NEW_NAME.match(case.name)) else None for case in cases}
    old = [name for name, kind in kinds.items() if kind is None]
    if old and len(old) < len(kinds):
        other = next(name for name in kinds if name not in old)
        raise ValueError(
            f"the source mixes a release up to 2021 ({old[0]}) with one from 2023 on ({other}), whose values mean "
            "different things; convert them one at a time"
        )
    labels = OLD if old else NEW
    if merge is not None:
        name = checked_class_name(merge, "--merge")
        keep = (BACKGROUND, *(["resection cavity"] if "GLI" in kinds.values() else []))
        return {value: BACKGROUND if meant in keep else name for value, meant in labels.items()}, not old
    if strange := sorted({str(kind) for kind in kinds.values()} - {"None", *_SAME_VALUES}):
        raise ValueError(
            f"--keep-classes: what the values of BraTS-{strange[0]} mean is not known here; merge them, and write the "
            "names into 'labels' of dataset.json"
        )
    return dict(labels), not old


def _complete(
    cases: Sequence[BratsCase], names: Sequence[str], skip: bool, notes: list[tuple[str, str]]
) -> list[BratsCase]:
    """Leave out the cases that lack a modality, or refuse them by name."""
    lacking = {case.name: [name for name in names if name not in case.images] for case in cases}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if lacking and not skip:
        common = [name for name in MODALITIES if all(name in case.images for case in cases)]
        shown = some([f"{name} lacks {', '.join(missing)}" for name, missing in lacking.items()], "; ")
        raise ValueError(
            f"{len(lacking)} of {len(cases)} cases are incomplete: {shown}. "
            f"Choose other --modalities (all cases have {', '.join(common) or 'none'}), or leave these cases out with "
            "--skip-incomplete"
        )
    notes += [(name, f"skipped: lacks {', '.join(missing)}") for name, missing in lacking.items()]
    return [case for case in cases if case.name not in lacking]


def _convert_all(cases: Mapping[str, BratsCase], plan: _Plan, skip: bool) -> list[Entry]:
    """Convert case by case; what cannot be converted is left out, a failure unless it may be skipped."""
    done = plan.done
    entries = done.convert(dict.fromkeys(cases, "training"), lambda name: [_convert(cases[name], plan)])["training"]
    if skip:
        done.failed.clear()
    return entries


def _convert(case: BratsCase, plan: _Plan) -> Entry:
    """Check all files of a case, then write them; ValueError says why it cannot be converted."""
    files = {name: case.images[name] for name in plan.modalities}
    images, notes = on_one_grid(files)
    first = images[plan.modalities[0]]
    entry: Entry = {"case": case.name, "patient": patient_of(case.name)}
    entry |= {} if case.group is None else {"group": case.group}
    label = None
    if case.label is not None:
        mask, drawn = load_volume(case.label)
        check_label_grid(mask, case.label, first, files[plan.modalities[0]])
        label = as_values(drawn, case.label, [int(value) for value in plan.labels])
        plan.seen.update(np.unique(label).tolist())
    done = plan.done
    done.claim({case.name: np.asanyarray(first.dataobj)})
    done.notes += [(case.name, note) for note in notes]
    folder = done.result / "images"
    paths = [copy_image(images[m], folder / f"{case.name}_{file_word(m)}.nii.gz") for m in plan.modalities]
    entry["image"] = paths if len(paths) > 1 else paths[0]
    if label is None:
        done.notes.append((case.name, "has no segmentation; kept without 'label' and tags"))
        return entry
    if not label.any():
        done.notes.append((case.name, "its segmentation is empty: no slice shows a tumour"))
    entry["label"] = write_like(label, first, done.result / "labels" / f"{case.name}.nii.gz")
    return entry | {"weak_labels": TAGGED, "slice_tags": slice_tags(label, plan.labels)}


def _without(labels: dict[str, str], value: str, entries: Sequence[Entry]) -> dict[str, str]:
    """Leave a value that no file has out of the map, and with it the tags of a class that nothing else means."""
    left = {key: name for key, name in labels.items() if key != value}
    if labels[value] not in left.values():
        place = list(dict.fromkeys(labels.values())).index(labels[value])
        for entry in entries:
            if "slice_tags" in entry:
                entry["slice_tags"] = [row[:place] + row[place + 1 :] for row in entry["slice_tags"]]
    return left


def _description(names: Sequence[str], labels: dict[str, str], entries: list[Entry]) -> dict[str, Any]:
    return {
        "name": "BraTS",
        "description": f"Skull-stripped brain MRI with tumours; made from a BraTS release. {TAGS_TEXT}.",
        "reference": "B. H. Menze et al., IEEE TMI 34(10):1993-2024, 2015, doi:10.1109/TMI.2014.2377694",
        "modality": {str(i): name for i, name in enumerate(names)},
        "labels": labels,
        "slice_axis": 2,
        "training": entries,
        "test": [],
    }
