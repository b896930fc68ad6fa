# SPDX-License-Identifier: Apache-2.0
"""A folder of volumes whose names say what they are: the cases, by regular expressions on the paths."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wss_monai.data.releases.preparation import visible_files
from wss_monai.io.volumes import SUFFIXES

__all__ = ["FolderCases", "compiled", "find_cases"]

WRITTEN = ("group", "phase")
"""Named groups, beside the patient, that a case in dataset.json has as keys."""
Groups = dict[str, str]
Index = dict[tuple[str, ...], dict[tuple[str, ...], list[tuple[int, dict[str, Any]]]]]
"""Names of groups -> their values -> cases with these, numbered."""


@dataclass(frozen=True)
class FolderCases:
    """What was found in a folder.

    Attributes:
        cases: entries for `training` in a dataset.json, sorted by case id; paths relative to the folder.
        modalities: names of the modalities, in the order of each case's images; empty where the pattern has none.
        without: role ("label", "weak_label") -> case ids that have no such file.
        orphans: role -> files without an image.
        incomplete: case id -> modalities that it lacks; such cases are left out.
        unmatched: volume files that no pattern matches.
    """

    cases: list[dict[str, Any]]
    modalities: list[str]
    without: dict[str, list[str]]
    orphans: dict[str, list[str]]
    incomplete: dict[str, list[str]]
    unmatched: list[str]


def find_cases(
    source: str | os.PathLike[str],
    image: str,
    label: str | None = None,
    weak_label: str | None = None,
    modalities: Sequence[str] | None = None,
) -> FolderCases:
    """Find the cases of a folder by the names of its files.

    A pattern is a regular expression that must match the whole path of a volume file, or of a folder with a DICOM
    series, relative to ``source`` and with forward slashes. Its named groups say what the file is: ``patient``
    (required), ``phase``, ``group``, ``modality`` (several images make one case), ``case`` (the case id), and any other
    word that tells files of one patient apart. Files belong to one case where the groups that both patterns have agree.

    Args:
        source: the folder.
        image: pattern of the images.
        label: pattern of the dense labels.
        weak_label: pattern of the weak labels.
        modalities: which modalities, in this order; None: all, by name.

    Returns:
        The cases and what does not fit. No volume is opened.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a pattern is no regular expression, has no group ``patient`` or matches nothing; two files take one
            place; a file fits several images, or several patterns.
    """
    root = Path(source)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder '{root}'")
    given = {"image": image, "label": label, "weak_label": weak_label}
    patterns = {role: compiled(role, text) for role, text in given.items() if text is not None}
    paths = _volumes(root)
    matched = {role: _matches(role, pattern, paths, root) for role, pattern in patterns.items()}
    _refuse_two_roles(matched)
    images: dict[tuple[tuple[str, str], ...], dict[str, str]] = defaultdict(dict)
    for path, groups in matched["image"].items():
        modality = groups.get("modality", "")
        key = tuple((name, value) for name, value in groups.items() if name != "modality")
        if modality in images[key]:
            raise ValueError(
                f"two images for one case: '{images[key][modality]}' and '{path}' have the same groups {groups}; tell "
                "them apart by another named group in the pattern, such as (?P<phase>...) or (?P<modality>...)"
            )
        images[key][modality] = path
    modalities = _ordered(sorted({modality for files in images.values() for modality in files}), modalities)
    incomplete, cases = {}, {}
    for key, files in images.items():
        case = _entry(dict(key), [files[m] for m in modalities if m in files])
        if lacking := [m for m in modalities if m not in files]:
            incomplete[case["case"]] = lacking
        else:
            cases[key] = case
    _refuse_same_names(cases.values())
    without: dict[str, list[str]] = {}
    orphans: dict[str, list[str]] = {}
    for role in ("label", "weak_label"):
        if role in matched:
            orphans[role] = _join(role, matched[role], cases)
            without[role] = sorted(case["case"] for case in cases.values() if role not in case)
    used = {path for files in matched.values() for path in files}
    left = [p for p in paths if p not in used and not p.endswith(".dcm") and Path(p).parent.as_posix() not in used]
    ordered = sorted(cases.values(), key=lambda case: case["case"])
    return FolderCases(ordered, [m for m in modalities if m], without, orphans, incomplete, left)


def _ordered(found: list[str], wanted: Sequence[str] | None) -> list[str]:
    """Give the modalities in the order asked for."""
    if wanted is None:
        return found
    if not wanted or not set(wanted) <= {name for name in found if name} or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"--modalities must name each once and be among those that the group modality of --image matches, "
            f"{[name for name in found if name]}; got {list(wanted)}"
        )
    return list(wanted)


def compiled(role: str, text: str) -> re.Pattern[str]:
    """Compile a pattern; a ValueError says what is wrong with it, naming the option."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"--{role}: '{text}' is not a regular expression: {error}") from error
    if "patient" not in pattern.groupindex:
        raise ValueError(
            f"--{role}: '{text}' has no group named patient; write (?P<patient>...) around the part of the path that "
            r"names the person, as in 'images/(?P<patient>p\d+)\.nii\.gz'"
        )
    return pattern


def _volumes(root: Path) -> list[str]:
    """List the volume files and the folders with DICOM files, relative to the root; hidden ones are left out."""
    found: list[str] = []
    for folder, shown in visible_files(root):
        here = folder.relative_to(root)
        found += [(here / name).as_posix() for name in shown if name.lower().endswith(SUFFIXES)]
        if here != Path() and any(_is_dicom(folder / name) for name in shown[:3]):
            found.append(here.as_posix())
    return sorted(found)


def _is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is a DICOM file."""
    if "." in path.name and path.suffix.lower() not in (".dcm", ".ima") and not path.suffix[1:].isdigit():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _matches(role: str, pattern: re.Pattern[str], paths: list[str], root: Path) -> dict[str, Groups]:
    """Give the paths that match, with their named groups."""
    found = {}
    for path in paths:
        if match := pattern.fullmatch(path):
            found[path] = {name: value for name, value in match.groupdict().items() if value}
            if "patient" not in found[path]:
                raise ValueError(f"--{role}: the group patient is empty in '{path}'; make it match the person's name")
    if not found:
        some = f"such as {paths[:3]}" if paths else f"and there are none (looked for {', '.join(SUFFIXES)} and DICOM)"
        raise ValueError(
            f"--{role}: '{pattern.pattern}' matches the whole path of no volume in '{root}', {some}; paths are "
            "relative to that folder"
        )
    return found


def _refuse_two_roles(matched: Mapping[str, Mapping[str, Groups]]) -> None:
    roles: dict[str, str] = {}
    for role, files in matched.items():
        for path in files:
            if path in roles:
                raise ValueError(f"'{path}' matches --{roles[path]} and --{role}; make one of the patterns narrower")
            roles[path] = role


def _entry(groups: Groups, files: list[str]) -> dict[str, Any]:
    """Make the entry of a case."""
    order = [
        "patient",
        *(name for name in groups if name not in ("patient", "group")),
    ]
    name = groups.get("case") or "_".join(groups[part] for part in order)
    entry: dict[str, Any] = {"case": name.replace("/", "_").lstrip("."), "patient": groups["patient"]}
    entry |= {key: groups[key] for key in WRITTEN if key in groups}
    return entry | {"image": files[0] if len(files) == 1 else files}


def _refuse_same_names(cases: Iterable[Mapping[str, Any]]) -> None:
    owners: dict[str, Any] = {}
    for case in cases:
        if case["case"] in owners:
            raise ValueError(
                f"two cases would be called '{case['case']}': {owners[case['case']]} and {case['image']}; widen the "
                "group case, or leave it out"
            )
        owners[case["case"]] = case["image"]


def _join(
    role: str, files: Mapping[str, Groups], cases: Mapping[tuple[tuple[str, str], ...], dict[str, Any]]
) -> list[str]:
    """Give each file to the case whose groups agree with its own; return those that fit none."""
    orphans = []
    indices: dict[frozenset[str], Index] = {}
    for path, groups in files.items():
        index = indices.setdefault(frozenset(groups), {})
        if not index:
            _add_cases(index, cases, groups.keys())
        found = (by.get(tuple(groups[name] for name in shared), []) for shared, by in index.items())
        fits = [case for _, case in sorted((item for items in found for item in items), key=lambda item: item[0])]
        if not fits:
            orphans.append(path)
        elif len(fits) > 1:
            raise ValueError(
                f"--{role}: '{path}' fits {len(fits)} images, such as {fits[0]['image']} and {fits[1]['image']}; name "
                "in both patterns what tells them apart, such as (?P<phase>...)"
            )
        elif role in fits[0]:
            raise ValueError(
                f"two files for the {role} of case '{fits[0]['case']}': '{fits[0][role]}' and '{path}'; make the "
                "pattern narrower, or take one away"
            )
        else:
            fits[0][role] = path
    return orphans


def _add_cases(index: Index, cases: Mapping[tuple[tuple[str, str], ...], dict[str, Any]], names: Set[str]) -> None:
    """Sort cases by the values of those of their groups that are among ``names``."""
    for number, (key, case) in enumerate(cases.items()):
        shared = [(name, value) for name, value in key if name in names]
        by_values = index.setdefault(tuple(name for name, _ in shared), {})
        by_values.setdefault(tuple(value for _, value in shared), []).append((number, case))
