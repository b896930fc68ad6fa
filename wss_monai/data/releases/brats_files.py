# SPDX-License-Identifier: Apache-2.0
"""The files of BraTS releases by their names: which case, which patient, which modality, which group."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wss_monai.data.releases.preparation import visible_files

__all__ = ["MODALITIES", "BratsCase", "find_brats_cases", "modality_names", "patient_of"]

MODALITIES = {
    "T1": ("t1", "t1n"),
    "T1c": ("t1ce", "t1c", "t1gd"),
    "T2": ("t2", "t2w"),
    "FLAIR": ("flair", "t2f"),
}
"""Our name of each modality and the words of the releases: up to 2021, from 2023."""
_NAMES = {word: name for name, words in MODALITIES.items() for word in words}
_SEG = ("seg", "segm", "segmentation")
_FILE = re.compile(rf"(?P<case>\w[\w.-]*?)[_-](?P<word>{'|'.join((*_NAMES, *_SEG))})\.nii(\.gz)?", re.I)
_NEW = re.compile(r"(?P<patient>BraTS-(?P<kind>[A-Za-z]+)-\d+)-(?P<time>\d{3})", re.I)
_GROUPS = ("HGG", "LGG")


@dataclass
class BratsCase:
    """One case, not read yet.

    Attributes:
        name: what its files' names begin with.
        folder: where it lies.
        group: HGG or LGG, where a folder above says so.
        images: file of each modality, by our name.
        label: the segmentation, None where there is none.
    """

    name: str
    folder: Path
    group: str | None = None
    images: dict[str, Path] = field(default_factory=dict)
    label: Path | None = None


def modality_names(words: Sequence[str] | None) -> list[str]:
    """Translate words such as flair, t1ce or t2f to our names; None: all four, T1, T1c, T2, FLAIR.

    Raises:
        ValueError: an unknown word, or one modality twice.
    """
    if words is None:
        return list(MODALITIES)
    known = {**_NAMES, **{name.lower(): name for name in MODALITIES}}
    if strange := [word for word in words if word.lower() not in known]:
        raise ValueError(
            f"--modalities: {strange} are none; choose from t1, t1ce, t2 and flair (or t1n, t1c, t2w, t2f)"
        )
    names = [known[word.lower()] for word in words]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"--modalities must name at least one modality and each once, got {list(words)}")
    return names


def patient_of(case: str) -> str:
    """Give the patient of a case: from 2023 on its name without the time point, before that its whole name."""
    match = _NEW.fullmatch(case)
    return match["patient"] if match else case


def find_brats_cases(root: Path) -> tuple[list[BratsCase], list[tuple[str, str]]]:
    """Find the cases of a folder, at any depth.

    The files of a case lie in one folder and begin with its name. A segmentation of another name, as the one of
    BraTS20_Training_355 in the release of 2020, is taken where its folder holds one case that has none.

    Returns:
        The cases, sorted by name; notes (case, what is unusual).

    Raises:
        ValueError: there is none; two files are the same modality of a case; two folders hold one case.
    """
    found: dict[tuple[Path, str], BratsCase] = {}
    for here, files in visible_files(root):
        for file in files:
            if match := _FILE.fullmatch(file):
                case = found.setdefault((here, match["case"]), BratsCase(match["case"], here, _group(here, root)))
                _put(case, match["word"].lower(), here / file)
    notes = _take_strays(found)
    if not found:
        raise ValueError(
            f"'{root}' does not look like a BraTS release: no file is called CASE_flair.nii.gz, CASE-t2f.nii.gz or the "
            "like; unpack the archives first"
        )
    cases: dict[str, BratsCase] = {}
    for case in found.values():
        if case.name in cases:
            raise ValueError(
                f"'{root}' holds {case.name} twice, in '{cases[case.name].folder}' and '{case.folder}'; take one away"
            )
        cases[case.name] = case
    return [cases[name] for name in sorted(cases)], notes


def _put(case: BratsCase, word: str, file: Path) -> None:
    """Add a file to its case."""
    known = case.label if word in _SEG else case.images.get(_NAMES[word])
    if known is not None:
        what = "segmentations" if word in _SEG else f"files of {_NAMES[word]}"
        raise ValueError(f"{case.name} has two {what}: '{known}' and '{file}'; take one away")
    if word in _SEG:
        case.label = file
    else:
        case.images[_NAMES[word]] = file


def _take_strays(found: dict[tuple[Path, str], BratsCase]) -> list[tuple[str, str]]:
    """Give segmentations of another name to the one case of their folder that has none."""
    by_folder: dict[Path, list[BratsCase]] = defaultdict(list)
    for case in found.values():
        by_folder[case.folder].append(case)
    notes = []
    for folder, cases in by_folder.items():
        strays = [case for case in cases if not case.images]
        lacking = [case for case in cases if case.images and case.label is None]
        for stray in strays:
            del found[folder, stray.name]
        if len(strays) == 1 and len(lacking) == 1 and len(cases) == 2:
            lacking[0].label = label = strays[0].label
            notes.append((lacking[0].name, f"its segmentation has another name, {label and label.name}; taken"))
        else:
            notes += [(stray.name, f"left out: {stray.label and stray.label.name} alone") for stray in strays]
    return notes


def _group(folder: Path, root: Path) -> str | None:
    """Give the group that the folders say, the innermost first."""
    parts = [part.upper() for part in (root.absolute().name, *folder.relative_to(root).parts)]
    return next((part for part in reversed(parts) if part in _GROUPS), None)
