# SPDX-License-Identifier: Apache-2.0
"""Points and boxes that were set in 3D Slicer, as weak labels of the images of a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai.data.derived_dataset import leads_outside, relative_path
from wss_monai.data.label_semantics import UNLABELLED_NAME, class_names_of, label_map
from wss_monai.data.releases.folder import compiled, find_cases
from wss_monai.data.releases.preparation import visible_files
from wss_monai.data.schema import write_dataset
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.box_maps import box_index
from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.functional.weak.marks import box_place, draw_point
from wss_monai.io.markups import ENDING, MarkedBox, MarkedPoint, read_markups
from wss_monai.io.nifti_files import write_volume
from wss_monai.io.volumes import read_array
from wss_monai.io.whole_folder import refuse_taken, whole_folder

__all__ = ["Drawn", "prepare_markups"]

Mark = MarkedPoint | MarkedBox


@dataclass
class Drawn:
    """What came of a preparation.

    Attributes:
        cases: entries of the new dataset.json.
        points: of all cases.
        boxes: of all cases.
        without: cases that no markups belong to.
        orphans: markups that belong to no image.
        failed: case -> why its markups could not be drawn; such cases are left out.
    """

    cases: list[dict[str, Any]] = field(default_factory=list)
    points: int = 0
    boxes: int = 0
    without: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def prepare_markups(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    image: str,
    markups: str,
    labels: Mapping[str, str],
    words: Mapping[str, str] | None = None,
    radius: float = 0.0,
    label: str | None = None,
    slice_axis: int = 2,
    undrawn_means_absent: bool = False,
    name: str | None = None,
) -> Drawn:
    """Make a data set whose weak labels are points and boxes of 3D Slicer; images stay where they are.

    Which class a mark is of says the group `class` of the pattern, where it has one; else the first of these that is
    a class, `background` or one of ``words``: the label of the point without its number, the name of the list or ROI,
    the name of the file. Capitals do not matter.

    Args:
        source: folder with images and markups.
        out: folder to make, with `dataset.json` and one map a case in `weak_labels`.
        image: pattern of the images, as of `find_cases`.
        markups: pattern of the .mrk.json files; those whose named groups agree with an image's belong to it.
        labels: file value of dense labels -> class name, background first; the values need not be in any file.
        words: what other names stand for: a class, or `background`.
        radius: mm around a point in which voxels count as drawn too.
        label: pattern of dense labels, for evaluation.
        slice_axis: of the data set.
        undrawn_means_absent: of the data set.
        name: of the data set; None: that of the source.

    Returns:
        The cases, and what does not fit.

    Raises:
        FileNotFoundError: there is no such folder.
        FileExistsError: ``out`` holds files.
        ValueError: patterns, labels or words do not fit, or nothing could be drawn.
    """
    root, out = Path(source), Path(out)
    refuse_taken(out)
    if not (np.isfinite(radius) and radius >= 0):
        raise ValueError(f"--radius must be mm, 0 or more, got {radius}")
    names = class_names_of(label_map(dict(labels), "--labels"))
    known = _known(names, words or {})
    found = find_cases(root, image, label)
    files = _matching(markups, root)
    done = Drawn()
    belongs = _joined(files, found.cases, re.compile(image), done)
    sets: list[tuple[int, ...]] = []
    with whole_folder(out) as work:
        for case in found.cases:
            entry: dict[str, Any] = dict(case)
            entry |= {key: _seen_from(out, root, case[key]) for key in ("image", "label") if key in case}
            if marks_of := belongs.get(case["case"]):
                try:
                    kind, index, affine, counts = _draw(root, case, marks_of, names, known, radius, sets)
                except (ValueError, OSError, EOFError) as error:
                    done.failed[case["case"]] = str(error)
                    continue
                target = work / "weak_labels" / f"{case['case']}.nii.gz"
                entry["weak_label"] = write_volume(index, affine, target)
                if kind is WeakKind.BOX:
                    entry["weak_labels"] = {"kind": kind.value}
                done.points, done.boxes = done.points + counts[0], done.boxes + counts[1]
            else:
                done.without.append(case["case"])
            done.cases.append(entry)
        if not done.points and not done.boxes:
            why = next(iter(done.failed.values()), f"no file of --markups belongs to an image ({len(files)} match)")
            raise ValueError(f"nothing could be drawn: {why}")
        content: dict[str, Any] = {
            "name": name or root.resolve().name,
            "labels": dict(labels),
            "slice_axis": slice_axis,
        }
        if found.modalities:
            content["modality"] = {str(number): one for number, one in enumerate(found.modalities)}
        if leads_outside(done.cases):
            content["files_outside"] = True
        content["weak_label"] = {
            "kind": (WeakKind.POINTS if done.points else WeakKind.BOX).value,
            "values": {str(k): one for k, one in enumerate(names)} | {str(UNLABELLED): UNLABELLED_NAME},
            "undrawn_means_absent": undrawn_means_absent,
        }
        several = {str(len(names) + j): [names[k] for k in classes] for j, classes in enumerate(sets)}
        for entry in done.cases:
            if several and "weak_labels" in entry:
                entry["weak_labels"]["values"] = content["weak_label"]["values"] | several
        write_dataset(work, content | {"training": done.cases})
    return done


def _draw(
    root: Path,
    case: Mapping[str, Any],
    files: Mapping[str, str],
    names: Sequence[str],
    known: Mapping[str, int],
    radius: float,
    sets: list[tuple[int, ...]],
) -> tuple[WeakKind, np.ndarray, np.ndarray, tuple[int, int]]:
    """Draw the marks of a case; give kind, map, affine, and how many points and boxes there are."""
    first = case["image"] if isinstance(case["image"], str) else case["image"][0]
    array, affine = read_array(root / first)
    shape = array.shape if array.ndim == 3 else (*array.shape, 1)
    marks = [(file, word, mark) for file, word in files.items() for mark in read_markups(root / file)]
    boxes = [mark for _, _, mark in marks if isinstance(mark, MarkedBox)]
    if not marks:
        raise ValueError(f"{', '.join(files)}: holds no point that was placed, and no box")
    if boxes and len(boxes) < len(marks):
        raise ValueError(f"{', '.join(files)}: points and boxes in one case; leave one of them out of --markups")
    channels = np.zeros((len(names), *shape), bool) if boxes else np.zeros((0, 0))
    index = np.full(shape, UNLABELLED, np.uint8)
    for file, word, mark in marks:
        where = f"{file}: '{mark.label}'"
        value = _class(mark, word, known, names, where)
        try:
            if isinstance(mark, MarkedPoint):
                draw_point(index, affine, mark.position, value, radius)
            elif value == 0:
                raise ValueError("is a box of the background, which has none; draw the organs' boxes")
            else:
                channels[value][box_place(shape, affine, mark.centre, mark.axes, mark.size)] = True
        except ValueError as error:
            raise ValueError(f"{where} {error}") from error
    if boxes:
        index = box_index(channels, sets)
    return (WeakKind.BOX if boxes else WeakKind.POINTS), index, affine, (len(marks) - len(boxes), len(boxes))


def _class(mark: Mark, word: str, known: Mapping[str, int], names: Sequence[str], where: str) -> int:
    asked = (word,) if word else mark.names
    for name in asked:
        if name.lower() in known:
            return known[name.lower()]
    raise ValueError(
        f"{where} is called {' and '.join(repr(one) for one in dict.fromkeys(asked))}, which is no class of {names}; "
        "rename it in 3D Slicer, or say what it means by --words '{\"" + asked[0] + f'": "{names[-1]}"' + "}'"
    )


def _known(names: Sequence[str], words: Mapping[str, str]) -> dict[str, int]:
    index = {name: number for number, name in enumerate(names)}
    if strange := sorted({meant for meant in words.values() if meant not in index}):
        raise ValueError(f"--words names {strange}, which are no class of {list(names)}")
    lower = [name.lower() for name in names]
    if len(set(lower)) < len(lower):
        raise ValueError(f"--labels {list(names)} differ in capitals alone, which marks do not tell apart")
    return {name.lower(): k for name, k in index.items()} | {word.lower(): index[m] for word, m in words.items()}


def _matching(text: str, root: Path) -> dict[str, dict[str, str]]:
    """Give the Markups files that match a pattern, with their named groups."""
    pattern = compiled("markups", text)
    paths = [
        (folder.relative_to(root) / name).as_posix()
        for folder, names in visible_files(root)
        for name in names
        if name.lower().endswith(ENDING)
    ]
    found = {path: match.groupdict() for path in sorted(paths) if (match := pattern.fullmatch(path))}
    if not found:
        some = f"such as {sorted(paths)[:3]}" if paths else f"and there is none (looked for *{ENDING})"
        raise ValueError(f"--markups: '{text}' matches the whole path of no Markups file in '{root}', {some}")
    return {path: {name: value for name, value in groups.items() if value} for path, groups in found.items()}


def _joined(
    files: Mapping[str, Mapping[str, str]], cases: Sequence[Mapping[str, Any]], image: re.Pattern[str], done: Drawn
) -> dict[str, dict[str, str]]:
    """Give case -> its Markups files -> the class that the pattern names, empty where it names none.

    Raises:
        ValueError: a file fits several images.
    """
    told = {}
    for case in cases:
        first = case["image"] if isinstance(case["image"], str) else case["image"][0]
        match = image.fullmatch(first)
        told[case["case"]] = {} if match is None else {k: v for k, v in match.groupdict().items() if v}
    belongs: dict[str, dict[str, str]] = {}
    for file, groups in files.items():
        own = {name: value for name, value in groups.items() if name != "class"}
        fits = [
            case
            for case, its in told.items()
            if all(its[key] == value for key, value in own.items() if key in its and key != "modality")
        ]
        if len(fits) > 1:
            raise ValueError(
                f"--markups: '{file}' fits {len(fits)} images, of {fits[0]} and {fits[1]}; name in both patterns what "
                "tells them apart, such as (?P<phase>...)"
            )
        if fits:
            belongs.setdefault(fits[0], {})[file] = groups.get("class", "")
        else:
            done.orphans.append(file)
    return belongs


def _seen_from(out: Path, root: Path, value: str | list[str]) -> Any:
    if isinstance(value, list):
        return [_seen_from(out, root, item) for item in value]
    return relative_path(str(root / value), out)
