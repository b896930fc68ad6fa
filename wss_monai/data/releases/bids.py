# SPDX-License-Identifier: Apache-2.0
"""A data set in the Brain Imaging Data Structure (BIDS): images, labels of its derivatives, participants."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wss_monai.data.derived_dataset import leads_outside, relative_path
from wss_monai.data.label_semantics import BACKGROUND
from wss_monai.data.releases.bids_names import BidsFile, list_files
from wss_monai.io.json_files import read_text

__all__ = ["BidsCases", "find_bids", "label_table", "seen_from"]

OF_LABELS = ("space", "desc", "label", "atlas", "res", "den", "hemi", "seg")
"""Entities that tell labels apart, and no images."""
PARTICIPANTS = "participants.tsv"
NOTHING = ("", "n/a")


@dataclass
class BidsCases:
    """What was found.

    Attributes:
        cases: entries for `training` in a dataset.json, sorted by case id, with paths of files.
        suffixes: of the images of a case, in their order.
        without: role ("label", "weak_label") -> cases without such a file.
        orphans: role -> files without an image.
        incomplete: case -> suffixes that it lacks; such cases are left out.
        ungrouped: subjects whose group participants.tsv does not say.
        without_images: participants of whom there is no image.
    """

    cases: list[dict[str, Any]] = field(default_factory=list)
    suffixes: list[str] = field(default_factory=list)
    without: dict[str, list[str]] = field(default_factory=dict)
    orphans: dict[str, list[str]] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)
    ungrouped: list[str] = field(default_factory=list)
    without_images: list[str] = field(default_factory=list)


def find_bids(
    source: str | os.PathLike[str],
    suffixes: Sequence[str] = (),
    label: str | os.PathLike[str] | None = None,
    weak_label: str | os.PathLike[str] | None = None,
    label_suffix: str = "dseg",
    entities: Mapping[str, str] | None = None,
    label_entities: Mapping[str, str] | None = None,
    group: str | None = None,
) -> BidsCases:
    """Find the cases of a BIDS data set; a subject is a patient, whatever the sessions.

    With one suffix each image is a case. With several the images of a subject and session are the channels of one.

    Args:
        source: the folder with the `sub-*` folders.
        suffixes: of the images, such as T1w, in the order of the channels; empty: the only one that there is.
        label: folder of a derivative with dense labels, relative to ``source``.
        weak_label: the same with weak labels.
        label_suffix: of both.
        entities: key -> label that images must have, such as {"acq": "highres"}.
        label_entities: the same of labels, such as {"desc": "manual"}.
        group: column of participants.tsv that becomes the patients' group.

    Returns:
        The cases and what does not fit. No volume is opened.

    Raises:
        FileNotFoundError: a folder, or participants.tsv where a group is asked for, is missing.
        ValueError: several suffixes and none chosen, several images or labels for one place, unknown columns; names
            what to give.
    """
    root = Path(source)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder '{root}'")
    images = _with(list_files(root), entities or {})
    if not images:
        raise ValueError(
            f"--source: '{root}' holds no volume such as sub-01/anat/sub-01_T1w.nii.gz"
            + (f" with {_said(entities)}" if entities else "")
        )
    done = BidsCases(suffixes=_chosen(images, suffixes, root))
    files = _cases(images, done)
    people = _participants(root, group)
    for key, (name, found) in files.items():
        case: dict[str, Any] = {"case": name, "patient": f"sub-{key[0]}"}
        if key[1]:
            case["session"] = f"ses-{key[1]}"
        told = people.get(case["patient"], {})
        if group is not None:
            if told.get(group, "") in NOTHING:
                done.ungrouped.append(case["patient"])
            else:
                case["group"] = told[group]
        paths = [str(found[suffix].path) for suffix in done.suffixes]
        done.cases.append(case | {"image": paths[0] if len(paths) == 1 else paths})
    own = dict(zip((case["case"] for case in done.cases), (found for _, found in files.values()), strict=True))
    for role, folder in (("label", label), ("weak_label", weak_label)):
        if folder is not None:
            _join(role, root, folder, label_suffix, label_entities or {}, own, done)
    done.cases.sort(key=lambda case: str(case["case"]))
    done.ungrouped = sorted(set(done.ungrouped))
    done.without_images = sorted(set(people) - {case["patient"] for case in done.cases})
    return done


def label_table(folder: str | os.PathLike[str], label_suffix: str = "dseg") -> dict[str, str] | None:
    """Read the look-up table of a derivative (`dseg.tsv`: columns index and name); None where there is none.

    Raises:
        ValueError: tables differ, or one has other columns.
    """
    root = Path(folder)
    tables: dict[str, dict[str, str]] = {}
    for path in sorted(root.rglob(f"*{label_suffix}.tsv")):
        rows = _rows(path)
        if not rows or not {"index", "name"} <= set(rows[0]):
            raise ValueError(f"{path}: must have the columns index and name; or give --labels")
        tables[str(path)] = {"0": BACKGROUND} | {row["index"]: row["name"] for row in rows if row["index"] != "0"}
    if len({tuple(sorted(table.items())) for table in tables.values()}) > 1:
        raise ValueError(f"look-up tables differ: {', '.join(list(tables)[:2])}; say by --labels what values mean")
    return next(iter(tables.values()), None)


def seen_from(cases: Sequence[Mapping[str, Any]], out: Path) -> tuple[list[dict[str, Any]], bool]:
    """Give cases with paths relative to a folder, and whether these lead out of it."""
    keys = ("image", "label", "weak_label")
    moved = [{**case, **{key: _relative(case[key], out) for key in keys if key in case}} for case in cases]
    return moved, leads_outside(moved)


def _relative(value: str | list[str], out: Path) -> Any:
    return [_relative(item, out) for item in value] if isinstance(value, list) else relative_path(value, out)


def _with(files: Sequence[BidsFile], wanted: Mapping[str, str]) -> list[BidsFile]:
    return [file for file in files if all(file.entities.get(key) == label for key, label in wanted.items())]


def _chosen(images: Sequence[BidsFile], suffixes: Sequence[str], root: Path) -> list[str]:
    """Give the suffixes of the images; where none is asked for there must be one."""
    counts = Counter(image.suffix for image in images)
    listed = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(counts.items()))
    if not suffixes and len(counts) > 1:
        raise ValueError(f"'{root}' has images of several suffixes, {listed}: choose by --suffix, one or several")
    if lacking := [suffix for suffix in suffixes if suffix not in counts]:
        raise ValueError(f"--suffix {lacking}: '{root}' has no such images; it has {listed}")
    if len(set(suffixes)) < len(suffixes):
        raise ValueError(f"--suffix must name each once, got {list(suffixes)}")
    return list(suffixes) or list(counts)


def _cases(images: Sequence[BidsFile], done: BidsCases) -> dict[tuple[str, ...], tuple[str, dict[str, BidsFile]]]:
    """Sort images into cases: key -> case id and its images by suffix."""
    files: dict[tuple[str, ...], tuple[str, dict[str, BidsFile]]] = {}
    for image in images:
        if image.suffix not in done.suffixes:
            continue
        key: tuple[str, ...] = (*image.scan, image.name)
        name = image.name
        if len(done.suffixes) > 1:
            key, name = image.scan, "_".join(f"{k}-{v}" for k, v in image.entities.items() if k in ("sub", "ses"))
        _, found = files.setdefault(key, (name, {}))
        if image.suffix in found:
            raise ValueError(
                f"two images of one suffix for '{name}': {found[image.suffix].path.name} and {image.path.name}; "
                f"choose by --entity, such as --entity {_difference(found[image.suffix], image)}"
            )
        found[image.suffix] = image
    whole = {}
    for key, (name, found) in files.items():
        if lacking := [suffix for suffix in done.suffixes if suffix not in found]:
            done.incomplete[name] = lacking
        else:
            whole[key] = (name, found)
    return whole


def _join(
    role: str,
    root: Path,
    folder: str | os.PathLike[str],
    suffix: str,
    wanted: Mapping[str, str],
    cases: Mapping[str, Mapping[str, BidsFile]],
    done: BidsCases,
) -> None:
    """Give each label of a derivative to the case whose images it belongs to."""
    place = root / folder
    option = f"--{role.replace('_', '-')}"
    if not place.is_dir():
        raise FileNotFoundError(f"{option}: no folder '{place}'")
    labels = [file for file in _with(list_files(place), wanted) if file.suffix == suffix]
    if not labels:
        raise ValueError(
            f"{option}: '{place}' holds no *_{suffix}.nii.gz in sub-* folders"
            + (f" with {_said(wanted)}" if wanted else "")
            + "; see --label-suffix"
        )
    entries = {str(case["case"]): case for case in done.cases}
    scans: dict[tuple[str, str], list[tuple[str, Mapping[str, BidsFile]]]] = {}
    for case, found in cases.items():
        scans.setdefault(next(iter(found.values())).scan, []).append((case, found))
    done.orphans[role] = []
    for label in labels:
        fits = [case for case, found in scans.get(label.scan, []) if any(_fits(label, i) for i in found.values())]
        if len(fits) > 1:
            raise ValueError(f"{option}: {label.path} fits several images, {fits[:2]}; choose by --entity")
        if not fits:
            done.orphans[role].append(str(label.path))
        elif role in entries[fits[0]]:
            other = Path(entries[fits[0]][role])
            raise ValueError(
                f"{option}: two labels for '{fits[0]}': {other.name} and {label.path.name}; choose by "
                "--label-entity, such as --label-entity desc=manual"
            )
        else:
            entries[fits[0]][role] = str(label.path)
    done.without[role] = sorted(case for case, entry in entries.items() if role not in entry)


def _fits(label: BidsFile, image: BidsFile) -> bool:
    """Tell whether a label may belong to an image: what its name says of the acquisition is the same."""
    return all(
        image.entities.get(key) == value for key, value in label.entities.items() if key not in OF_LABELS
    ) and all(label.entities[key] == value for key, value in image.entities.items() if key in label.entities)


def _participants(root: Path, group: str | None) -> dict[str, dict[str, str]]:
    """Read participants.tsv: participant -> column -> value; empty where there is none and no group is asked for."""
    path = root / PARTICIPANTS
    if not path.is_file():
        if group is None:
            return {}
        raise FileNotFoundError(f"--group: no file '{path}'")
    rows = _rows(path)
    if rows and "participant_id" not in rows[0]:
        raise ValueError(f"{path}: has no column participant_id; it has {list(rows[0])}")
    if group is not None and (not rows or group not in rows[0]):
        raise ValueError(f"--group: {path} has no column {group!r}; it has {list(rows[0]) if rows else []}")
    return {row["participant_id"]: row for row in rows}


def _rows(path: Path) -> list[dict[str, str]]:
    """Read a table with tabs between its columns."""
    lines = read_text(path).splitlines()
    return [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(lines, delimiter="\t")]


def _difference(one: BidsFile, other: BidsFile) -> str:
    """Give an entity, as an option, that one of two files has and the other not."""
    pairs = [f"{k}={v}" for k, v in one.entities.items() if other.entities.get(k) != v]
    return (pairs or [f"{k}={v}" for k, v in other.entities.items() if k not in one.entities] or ["run=1"])[0]


def _said(wanted: Mapping[str, str] | None) -> str:
    return ", ".join(f"{key}-{value}" for key, value in (wanted or {}).items())
