# SPDX-License-Identifier: Apache-2.0
"""From what the labels are to the mode that was measured to be best for them, and to its bounds and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wss_monai.functional.weak.kinds import WeakKind
from wss_monai.planning.facts import DataFacts

__all__ = ["Setting", "mode_settings"]

TABLE = "docs/how-to/choose-bounds.md"
FEWEST_DENSE = 3
"""Patients off whose dense labels sizes are read at least."""
MOST_DENSE = 5
"""And at most: those are the ones that are outlined."""


@dataclass(frozen=True)
class Setting:
    """A line of the file.

    Attributes:
        name: id of the setting.
        value: as YAML shall have it.
        reason: why, a comment of the line.
        active: False: the line is a comment, for the user to fill in.
    """

    name: str
    value: Any
    reason: str
    active: bool = True


def mode_settings(
    facts: DataFacts, dims: int, fitted: Sequence[str]
) -> tuple[str, tuple[str, ...], list[Setting], list[str]]:
    """Choose the mode.

    Args:
        facts: of the data set.
        dims: 2 or 3, of the network.
        fitted: patients off whose dense labels bounds may be read.

    Returns:
        The bundle, its files, the settings of mode and bounds, and notes.

    Raises:
        ValueError: no case is labelled, or what the labels are asks for another bundle, which is named.
    """
    kinds = facts.kinds
    if not kinds:
        raise ValueError(f"{facts.dataset.path}: no case has a label of any kind; draw some, or tag slices.")
    if kinds == {WeakKind.TAGS}:
        raise ValueError(
            f"{facts.dataset.path}: the cases have tags alone, for which there is the bundle prostate_cross_modality "
            "(docs/how-to/image-tags.md); a plan is made for drawings, points, boxes and dense masks."
        )
    bundle, files = f"weak_{dims}d", ("train.yaml",)
    chosen = sorted(set(fitted))[:MOST_DENSE]
    measured = [case for case in facts.cases if case.patient in chosen and case.volumes]
    bounds = _bounds(facts, dims, measured, chosen)
    unlabelled = sum(case.kind is WeakKind.NOTHING for case in facts.cases)
    notes = [f"{unlabelled} cases have no label: nothing is learnt from them here."] if unlabelled else []
    if kinds == {WeakKind.DENSE}:
        why = "all labelled cases have dense masks"
        if unlabelled:
            notes.append(
                "for images without labels there is acdc_mutual_information (docs/how-to/few-labelled-patients.md)."
            )
        return bundle, files, [Setting("mode", "full" if not unlabelled else "partial", why), bounds], notes
    if WeakKind.BOX in kinds:
        if dims == 3:
            raise ValueError(
                f"{facts.dataset.path}: mode box works on slices, and voxels are nearly cubes: pass --dims 2."
            )
        why = f"boxes; a first look, measured on one fold ({TABLE})"
        return "acdc_logbarrier", ("train.yaml", "box.yaml"), [Setting("mode", "box", why), bounds], notes
    if any(case.dense for case in facts.cases if case.kind is not WeakKind.DENSE):
        notes.append("dense masks beside weak labels are used for scores alone.")
    if WeakKind.POINTS in kinds:
        return bundle, files, _points(facts, dims, measured, chosen, bounds), notes
    why = f"drawings: labels of its own for what is not drawn, .97 of full supervision on the heart ({TABLE})"
    return bundle, files, [Setting("mode", "pseudo", why), bounds], notes


def _points(facts: DataFacts, dims: int, measured: list[Any], chosen: list[str], bounds: Setting) -> list[Setting]:
    """Points leave sizes open, which decide."""
    if len(chosen) < FEWEST_DENSE or not measured:
        why = f"points without sizes; with the mean volumes of your patients pseudo is better ({TABLE})"
        fill = dict.fromkeys(facts.class_names[1:], "?")
        return [
            Setting("mode", "partial", why),
            Setting("set_size", "stated", "with --mode pseudo", False),
            Setting("stated_sizes", fill, "mean volume of a patient, ml: fill in", False),
            bounds,
        ]
    if dims == 3:
        return [Setting("mode", "logbarrier", f"a few spots a volume and its size in ml ({TABLE})"), bounds]
    means = {
        name: _nice(float(np.mean([case.volumes.get(index, 0.0) for case in measured])))
        for index, name in enumerate(facts.class_names)
        if index
    }
    return [
        Setting("mode", "pseudo", f"points, and sizes of the whole set ({TABLE})"),
        Setting("set_size", "stated", "the pseudo-labels of all cases together show the sizes below"),
        Setting("stated_sizes", means, f"mean ml of the dense masks of {', '.join(chosen)}"),
        bounds,
    ]


def _bounds(facts: DataFacts, dims: int, measured: list[Any], chosen: list[str]) -> Setting:
    """Bounds of a class: half of the smallest to one and a half of the largest that was measured, or to fill in."""
    name, unit = ("size_bounds", "area in a slice, mm2") if dims == 2 else ("volume_bounds", "volume, ml")
    found: dict[str, list[float]] = {}
    for index, label in enumerate(facts.class_names):
        values = [
            value
            for case in measured
            for value in (
                case.areas.get(index, []) if dims == 2 else [case.volumes[index]] if index in case.volumes else []
            )
        ]
        if index and values:
            found[label] = [_nice(min(values) / 2), _nice(max(values) * 1.5)]
    if len(found) == len(facts.class_names) - 1 and len(chosen) >= FEWEST_DENSE:
        why = f"{unit}: half of the least to 1.5 times the most in the dense masks of {', '.join(chosen)}"
        return Setting(name, found, f"{why}; quadratic and logbarrier learn from them, evaluation counts them")
    fill: dict[str, Any] = {label: ["?", "?"] for label in facts.class_names[1:]}
    return Setting(name, fill, f"{unit}: fill in, for --mode logbarrier and to count what lies inside", False)


def _nice(value: float) -> float | int:
    """Two digits are enough."""
    number = float(f"{value:.2g}")
    return int(number) if number.is_integer() else number
