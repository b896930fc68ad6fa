# SPDX-License-Identifier: Apache-2.0
"""Checks that compare the cases of a data set with each other: geometry, intensities, classes, annotation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wss_monai.data.checks.case import CaseFacts
from wss_monai.data.checks.entries import Entries
from wss_monai.data.checks.problem import Problems
from wss_monai.data.label_semantics import BACKGROUND, UNLABELLED_NAME, WeakMeaning, class_names_of

__all__ = ["check_annotation", "check_geometries", "check_images", "class_statistics"]

SPACING_RATIO = 3.0
"""Cases whose spacing along an axis differs by a larger factor are worth a look."""
RANGE_RATIO = 100.0
"""The same for the range of intensities."""
UNDRAWN_SHARE = 0.05
"""Where `undrawn_means_absent`, this share of the classes that slices show may be undrawn."""


def check_geometries(cases: Sequence[CaseFacts], problems: Problems) -> None:
    """Compare spacing, directions of axes and number of axes over the cases."""
    grids = [(facts.entry.name, facts.grid) for facts in cases if facts.grid is not None]
    kinds = Counter(len(grid.shape) for _, grid in grids)
    if len(kinds) > 1:
        problems.error(
            "axes", f"{kinds[2]} cases have 2 axes and {kinds[3]} have 3", "keep 2D and 3D files in data sets apart"
        )
        return
    for axis in range(max(kinds, default=0)):
        values = [grid.spacing[axis] for _, grid in grids]
        low, high = int(np.argmin(values)), int(np.argmax(values))
        if values[high] > SPACING_RATIO * values[low]:
            problems.warning(
                "spacing_range",
                f"spacing along axis {axis} goes from {values[low]:.4g} mm (case '{grids[low][0]}') to "
                f"{values[high]:.4g} mm (case '{grids[high][0]}')",
                "check the headers; if it is true, train at one spacing (pixdim)",
            )
    axes = Counter(grid.axes for _, grid in grids if grid.axes != "oblique")
    if len(axes) > 1:
        example = {code: next(name for name, grid in grids if grid.axes == code) for code in axes}
        listed = ", ".join(f"{code} in {n} (e.g. '{example[code]}')" for code, n in axes.most_common())
        what = f"the axes point in different directions: {listed}"
    elif len(mirrored := Counter(grid.mirrored for _, grid in grids)) > 1:
        rare = min(mirrored, key=lambda side: mirrored[side])
        example_name = next(name for name, grid in grids if grid.mirrored == rare)
        what = f"{mirrored[rare]} of {len(grids)} cases (e.g. '{example_name}') are stored mirrored to the others"
    else:
        return
    problems.warning(
        "axes", what, "reorient all files one way (MONAI: Orientationd); 'slice_axis' counts the axes as stored"
    )


def check_images(entries: Entries, cases: Sequence[CaseFacts], problems: Problems) -> None:
    """Compare the number of modalities and the ranges of intensities over the cases; look for cases without image."""
    without = [facts for facts in cases if not facts.entry.case.get("image")]
    lacking = [facts for facts in without if "image" not in facts.entry.refused]
    label_only = len(without) == len(cases) and entries.raw.get("modality") == {}
    if lacking and not label_only:
        some = len(lacking) < len(cases)
        for facts in lacking if some else []:
            problems.error("no_image", "has no 'image', which every run needs", "add it", case=facts.entry.name)
        if not some:
            problems.error(
                "no_image",
                "no case has an 'image', which every run needs",
                'add them; if the set holds label maps only, say so by "modality": {}',
            )
    whole = [facts for facts in cases if facts.entry.case.get("image") and "image" not in facts.entry.refused]
    channels = Counter(sum(key == "image" for key, _, _ in facts.files) for facts in whole)
    if len(channels) > 1:
        usual = channels.most_common(1)[0][0]
        for facts in whole:
            count = sum(key == "image" for key, _, _ in facts.files)
            if count != usual:
                problems.error(
                    "modalities",
                    f"has {count} image files, but most cases have {usual}",
                    "give every case the same modalities in the same order",
                    case=facts.entry.name,
                )
    for place in range(max(channels, default=0)):
        ranges = [
            (facts.images[place].high - facts.images[place].low, facts.entry.name)
            for facts in cases
            if place in facts.images and facts.images[place].high > facts.images[place].low
        ]
        if ranges and max(ranges)[0] > RANGE_RATIO * min(ranges)[0]:
            (low, a), (high, b) = min(ranges), max(ranges)
            problems.warning(
                "intensities",
                f"intensities (1 to 99 %) of modality {place} span {low:.4g} in case '{a}' and {high:.4g} in '{b}'",
                "normalise each volume by itself, as the bundles do; never by one window for all",
            )


def check_annotation(
    entries: Entries, cases: Sequence[CaseFacts], patients: set[str] | None, problems: Problems
) -> None:
    """Look for classes and values that nothing shows, in the whole data set and in its training cases.

    Args:
        entries: the data set.
        cases: all cases, their volumes read.
        patients: who trains; None: those under 'training'.
        problems: grows.
    """
    if not cases or not entries.labels_known:
        return
    names = list(dict.fromkeys(name for facts in cases for name in _names(facts)))
    dense = [facts for facts in cases if facts.dense is not None]
    weak = [facts for facts in cases if facts.weak is not None]
    never = [name for name in names[1:] if dense and not any((facts.dense or {}).get(name) for facts in dense)]
    if never:
        problems.warning(
            "class_unseen",
            f"no dense label shows {never}",
            "check 'labels'; remove what the set does not have: no score can be given for it",
        )
    partial = [facts.weak or {} for facts in weak if not _meaning(facts).traits.complete]
    declared = any(UNLABELLED_NAME in voxels for voxels in partial)
    if declared and not any(voxels.get(UNLABELLED_NAME) for voxels in partial):
        problems.warning(
            "value_unseen",
            "no weak label has an 'unlabelled' voxel, as if everything were drawn",
            "check 'weak_label.values': the value of \"nothing drawn\" (mostly 0 or 255) must be 'unlabelled'",
        )
    elif partial and not declared:
        problems.warning(
            "value_unseen",
            "'weak_label.values' has no 'unlabelled', so that every voxel counts as drawn",
            'if 0 is "nothing drawn", write "0": "unlabelled"',
        )
    if entries.weak_known:
        chosen = [f for f in cases if (f.entry.part == "training" if patients is None else f.entry.patient in patients)]
        _check_supervision(names, chosen, problems)
    own = Counter(tuple(class_names_of(facts.entry.dataset.labels_of(facts.entry.case))) for facts in cases)
    if len({frozenset(classes) for classes in own}) > 1:
        problems.warning(
            "classes_differ",
            f"cases have {len(own)} different sets of classes by 'labels' of their own",
            "a run needs the same class names in every case: rename or merge them (values may share a name)",
        )
    hidden, shown = (sum(facts.undrawn[i] for facts in cases) for i in (0, 1))
    if shown and hidden > UNDRAWN_SHARE * shown:
        problems.warning(
            "undrawn",
            f"'undrawn_means_absent' is true, but {hidden} of {shown} times ({hidden / shown:.0%}) a class that the "
            "dense label shows in a slice is not drawn there",
            "set 'undrawn_means_absent' to false, or draw every class that a slice shows",
        )


def _check_supervision(names: Sequence[str], training: Sequence[CaseFacts], problems: Problems) -> None:
    """Look for classes that nothing in the training cases shows. A dense label counts where there is no weak one."""
    for facts in training:
        for key, voxels in (("label", facts.dense), ("weak_label", facts.weak)):
            if key in facts.entry.refused or (facts.entry.case.get(key) and voxels is None):
                return  # a map that cannot be read may hold it; the answer comes once it is mended
    maps = [facts.dense if facts.weak is None and _meaning(facts).traits.drawn else facts.weak for facts in training]
    tagged = {name for facts in training for name in facts.tagged}
    if not any(facts is not None for facts in maps) and not tagged:
        problems.error(
            "no_annotation",
            "no training case has a weak label, a dense label or a tag",
            "draw something into some of them, or give 'tags'",
        )
        return
    if not any(facts.weak is not None for facts in training) and not tagged:
        return  # drawn densely: what no dense label shows has been said
    for name in names:
        if any((voxels or {}).get(name) for voxels in maps):
            continue
        if name == BACKGROUND:
            meanings = [_meaning(facts) for facts in training if facts.weak]
            if any(meaning.traits.boxes and meaning.undrawn_means_absent for meaning in meanings):
                continue  # what lies outside of the boxes is background
            problems.warning(
                "class_undrawn",
                "no training case has background drawn",
                "draw a few strokes of background; upper size bounds can stand in for it, but seldom well",
            )
        elif name in tagged:
            problems.warning(
                "class_undrawn",
                f"'{name}' is drawn in no training case; only tags say that it is there",
                "draw it in some cases, or train with a method that learns places from tags",
            )
        else:
            problems.error(
                "class_undrawn",
                f"'{name}' is neither drawn nor tagged as present in any training case",
                "draw it in some cases or remove it from 'labels'; a bound on its size alone does not say where it is",
            )


def _meaning(facts: CaseFacts) -> WeakMeaning:
    """Give what a case's annotation means."""
    return facts.entry.dataset.weak_of(facts.entry.case)


def _names(facts: CaseFacts) -> list[str]:
    dataset = facts.entry.dataset
    return list(dict.fromkeys([*dataset.labels.values(), *class_names_of(dataset.labels_of(facts.entry.case))]))


def class_statistics(cases: Sequence[CaseFacts]) -> dict[str, dict[str, Any]]:
    """Summarise the classes, background left out.

    Returns:
        name -> `cases` (dense labels that show it), `of` (dense labels), `volume_ml` (min, median, max where it shows,
        None where it never does), `weak_cases` and `weak_voxels` (weak labels that show it, and their voxels).
    """
    volumes: dict[str, list[float]] = {}
    weak: dict[str, list[int]] = {}
    for facts in cases:
        for name in _names(facts):
            volumes.setdefault(name, [])
            weak.setdefault(name, [])
        for name, count in (facts.dense or {}).items():
            if count and facts.grid is not None:
                volumes.setdefault(name, []).append(count * facts.grid.voxel_ml)
        for name, count in (facts.weak or {}).items():
            if count and name != UNLABELLED_NAME:
                weak.setdefault(name, []).append(count)
    total = sum(facts.dense is not None for facts in cases)
    return {
        name: {
            "cases": len(values),
            "of": total,
            "volume_ml": _spread(values),
            "weak_cases": len(weak.get(name, [])),
            "weak_voxels": sum(weak.get(name, [])),
        }
        for name, values in volumes.items()
        if name != BACKGROUND
    }


def _spread(values: Sequence[float]) -> Mapping[str, float] | None:
    if not values:
        return None
    return {
        "min": round(min(values), 4),
        "median": round(float(np.median(values)), 4),
        "max": round(max(values), 4),
    }
