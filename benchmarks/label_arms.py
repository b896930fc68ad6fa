# SPDX-License-Identifier: Apache-2.0
"""What is drawn and what is trained on it, for `benchmarks/run.py label-efficiency`; and how long drawing takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments import BOUNDS, NORMAL, POINTS, stated

SECONDS: dict[str, tuple[float, str]] = {
    "tags": (1.0, "a class and image, Bearman et al., ECCV 2016 (photographs)"),
    "points": (2.4, "the first point of a class in an image, Bearman et al., ECCV 2016 (photographs)"),
    "scribble": (10.9, "a squiggle of a class in an image, Bearman et al., ECCV 2016 (photographs)"),
    "box": (7.0, "a box by extreme clicking, Papadopoulos et al., ICCV 2017 (photographs)"),
    "dense": (20.0, "20 min for both phases of a heart, Bai et al., JCMR 20:65, 2018, over about 60 contours"),
}
"""Kind of drawing -> assumed seconds for one class in one slice, and where the number is from. Nobody timed these
labels. Background that is drawn counts as a class; a class that a slice does not show costs nothing."""
PHOTOGRAPHS = 79.2
"""Seconds for the mask of an object in a photograph, Lin et al., ECCV 2014 (COCO), in the place of those of "dense":
then all kinds are timed on photographs."""

BOXES = ("--strategy", "box")
THIRD = ("--strategy", "keep", "--option", "every=3")
EPOCH = {"epoch_iterations": 79}
"""Iterations of an epoch with 32 patients: of all arms, so that the budget is the same."""
FIT = ("--dense", "5", "--terms", "size")
"""Words of the verb ``bounds``."""


@dataclass(frozen=True)
class Drawing:
    """What somebody draws.

    Attributes:
        kind: of ``SECONDS``.
        about: for the page and the figure.
        weaken: words of the verb ``weaken``, one command after the other; none: the data set's own weak labels.
        patients: training patients, drawn by the run's seed, stratified by group; None: all.
    """

    kind: str
    about: str
    weaken: tuple[tuple[str, ...], ...] = ()
    patients: int | None = None


@dataclass(frozen=True)
class LabelArm:
    """What is trained on a drawing.

    Attributes:
        drawing: of ``DRAWINGS``.
        method: of ``METHODS``.
        settings: of the bundle.
        overlays: of train.yaml.
        dense: patients who are drawn densely besides.
        known: file of docs/results and arm in it, where the same run has been made.
    """

    drawing: str
    method: str
    settings: Mapping[str, object]
    overlays: tuple[str, ...] = ("cpu.yaml",)
    dense: int = 0
    known: tuple[str, str] | None = None


METHODS = {
    "partial": "drawn voxels alone",
    "pseudo": "pseudo-labels",
    "constraints": "constraints",
    "pseudo_constraints": "pseudo-labels and constraints",
    "full": "dense masks",
}
"""Method -> its words. Constraints: sizes of the set, or those of boxes."""

DRAWINGS: dict[str, Drawing] = {
    "scribbles": Drawing("scribble", "scribbles"),
    "points": Drawing("points", "points", (POINTS,)),
    "scribbles_third": Drawing("scribble", "scribbles, every third slice", (THIRD,)),
    **{f"scribbles_{n}": Drawing("scribble", f"scribbles, {n} patients", patients=n) for n in (5, 10, 20)},
    "boxes": Drawing("box", "boxes", (BOXES,)),
    "points_third": Drawing("points", "points, every third slice", (POINTS, THIRD)),
    **{f"points_{n}": Drawing("points", f"points, {n} patients", (POINTS,), n) for n in (5, 10)},
    "dense": Drawing("dense", "dense masks"),
    "tags": Drawing("tags", "tags of slices"),
    "dense_1": Drawing("dense", "dense masks, 1 patient", patients=1),
    **{f"dense_{n}": Drawing("dense", f"dense masks, {n} patients", patients=n) for n in (3, 5, 10)},
}

PARTIAL, PSEUDO, FULL = {"mode": "partial"}, {"mode": "pseudo"}, {"mode": "full"}
HEALTHY = {**PSEUDO, **stated(NORMAL)}
"""Stated sizes: healthy adults, fixed beforehand, no drawing."""
ESTIMATED = {**PSEUDO, "set_size": "estimated", "bounds_file": BOUNDS}
"""Sizes estimated on five patients who are drawn densely besides."""
BOX = ("box.yaml", "cpu.yaml")
SCRIBBLES_PAGE, POINTS_PAGE = "pseudo-set-size/fold1_scribbles.csv", "pseudo-set-size/fold1_points.csv"


def pseudo_on(drawing: str) -> LabelArm:
    """The recipe with its defaults."""
    return LabelArm(drawing, "pseudo", PSEUDO)


ARMS: dict[str, LabelArm] = {
    # in the order of what they tell
    "scribbles_5_pseudo": pseudo_on("scribbles_5"),
    "dense_5_full": LabelArm("dense_5", "full", FULL),
    "scribbles_third_pseudo": pseudo_on("scribbles_third"),
    "scribbles_10_pseudo": pseudo_on("scribbles_10"),
    "dense_3_full": LabelArm("dense_3", "full", FULL),
    "boxes_pseudo_constraints": LabelArm("boxes", "pseudo_constraints", PSEUDO, BOX),
    "dense_1_full": LabelArm("dense_1", "full", FULL),
    "dense_10_full": LabelArm("dense_10", "full", FULL),
    "scribbles_5_partial": LabelArm("scribbles_5", "partial", PARTIAL),
    "scribbles_third_partial": LabelArm("scribbles_third", "partial", PARTIAL),
    "points_third_normal": LabelArm("points_third", "pseudo_constraints", HEALTHY),
    "scribbles_5_normal": LabelArm("scribbles_5", "pseudo_constraints", HEALTHY),
    "scribbles_third_normal": LabelArm("scribbles_third", "pseudo_constraints", HEALTHY),
    "scribbles_20_pseudo": pseudo_on("scribbles_20"),
    "boxes_partial": LabelArm("boxes", "partial", {"mode": "partial", "box_filled": True}, BOX),
    "boxes_constraints": LabelArm("boxes", "constraints", {}, BOX),
    "scribbles_normal": LabelArm("scribbles", "pseudo_constraints", HEALTHY),
    "tags_normal": LabelArm("tags", "pseudo_constraints", HEALTHY),
    "tags_pseudo": pseudo_on("tags"),
    "tags_partial": LabelArm("tags", "partial", PARTIAL),
    "scribbles_10_partial": LabelArm("scribbles_10", "partial", PARTIAL),
    "scribbles_10_normal": LabelArm("scribbles_10", "pseudo_constraints", HEALTHY),
    "points_5_normal": LabelArm("points_5", "pseudo_constraints", HEALTHY),
    "scribbles_20_partial": LabelArm("scribbles_20", "partial", PARTIAL),
    "scribbles_20_normal": LabelArm("scribbles_20", "pseudo_constraints", HEALTHY),
    "points_10_normal": LabelArm("points_10", "pseudo_constraints", HEALTHY),
    # made before
    "dense_full": LabelArm("dense", "full", FULL, known=(SCRIBBLES_PAGE, "full")),
    "scribbles_partial": LabelArm("scribbles", "partial", PARTIAL, known=(SCRIBBLES_PAGE, "partial")),
    "scribbles_pseudo": LabelArm("scribbles", "pseudo", PSEUDO, known=(SCRIBBLES_PAGE, "pseudo")),
    "scribbles_dense5": LabelArm(
        "scribbles", "pseudo", {**PSEUDO, "dense": 5}, dense=5, known=(SCRIBBLES_PAGE, "pseudo_dense5")
    ),
    "points_partial": LabelArm("points", "partial", PARTIAL, known=(POINTS_PAGE, "partial")),
    "points_pseudo": LabelArm("points", "pseudo", PSEUDO, known=(POINTS_PAGE, "pseudo")),
    "points_normal": LabelArm("points", "pseudo_constraints", HEALTHY, known=(POINTS_PAGE, "pseudo_normal")),
    "points_estimated": LabelArm(
        "points", "pseudo_constraints", ESTIMATED, dense=5, known=(POINTS_PAGE, "pseudo_estimated")
    ),
}
"""Arm -> what is trained on what; ``python benchmarks/run.py label-efficiency`` runs them in this order."""
