# SPDX-License-Identifier: Apache-2.0
"""What is run on a device and compared with the CPU: losses, transforms, functions, engines, handlers, networks.

A case makes its tensors on the CPU, in float32, from fixed seeds. `SYNCS` says how often each may make the host wait
for the device, measured with ``fake_cuda``; what is not there must not wait at all. A number may only go down. To
measure anew, name a file in the environment variable ``WSS_MONAI_SYNCS`` and run ``tests/test_device.py``: it gets a
line for each case (kind, name, waits, copies to the device, where they came from), and no budget is checked.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.networks.nets import BasicUNet, UNet
from PIL import Image
from torch import Tensor, nn

from wss_monai.data import BatchLoader, PairedLoader, PatchStore, SliceStore, VolumeBatchSampler
from wss_monai.engines import (
    PreparePseudoLabels,
    PrepareSemiSupervised,
    PrepareTargets,
    PrepareTeacher,
    PrepareViews,
    refused_by_bounds,
)
from wss_monai.evaluation import VolumeScorer
from wss_monai.functional import cue_maps, patch_tags, warps
from wss_monai.functional.area_change import AreaChange
from wss_monai.functional.box_descriptors import BoxStrips, OutsideSize
from wss_monai.functional.cams import channels as cams
from wss_monai.functional.cams import cues as cam_cues
from wss_monai.functional.cams import grad_cam
from wss_monai.functional.cams.max_norm import max_norm
from wss_monai.functional.class_shift import class_shift
from wss_monai.functional.descriptors import DESCRIPTORS, Length, Size, StrayShare
from wss_monai.functional.hard_classes import hard_classes
from wss_monai.functional.local_joint import local_joint
from wss_monai.functional.rank_pooling import rank_pooling
from wss_monai.functional.relations import RELATIONS
from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.handlers import (
    AveragedNetwork,
    CAMSnapshots,
    CAMTagScore,
    EpochLog,
    SetSize,
    Snapshots,
    TagScore,
    ValidationScore,
)
from wss_monai.handlers.gradient_norms import gradient_norm
from wss_monai.inferers import SemiSupervisedInferer, SlicesInferer, TwoViews
from wss_monai.losses import (
    ClassDistributionExchangeLoss,
    ClassificationLoss,
    ConsistencyLoss,
    ConstraintLoss,
    ConstrainToBoundaryLoss,
    CrossModalityEquivarianceLoss,
    DualDecoderLoss,
    EntropyLoss,
    EqualVolumeLoss,
    EquivariantCAMLoss,
    ExpansionLoss,
    FeatureMutualInformationLoss,
    GatedCRFLoss,
    IICLoss,
    LocalIICLoss,
    LogBarrierExtension,
    MixedLabelLoss,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    PartialDiceLoss,
    QuadraticPenalty,
    ReLUPenalty,
    SeedingLoss,
    SemiSupervisedLoss,
    SmoothAreasLoss,
    TagLoss,
    WeightedSumLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.networks import (
    CAMNet,
    CAMUNet,
    ClusterHead,
    ClusterNetwork,
    DenseCRF,
    DualDecoder,
    ENet,
    FeatureTap,
    LargeFOV,
    MIUNet,
    MultiModalCAM,
    PixelCorrelation,
    ResidualUNet,
    ShallowCNN,
    TagClassifier,
)
from wss_monai.nnunet import ConstrainedLoss, Constraints
from wss_monai.optimizers import SeveralOptimizers
from wss_monai.transforms import (
    BatchAugment,
    CAMLogits,
    CAMScores,
    ConstantBoundsd,
    JitterAugment,
    RandEquivariantTransform,
    RandFlips,
    RefineByDenseCRF,
)

LATTICE = 0.1
"""Voxels of a regular grid lie on faces between simplices: rounding decides whether a vertex is there, and with it what
reaches its neighbours. A change of the image by 1e-7 of its values moves single probabilities by up to .07."""
__all__ = ["CASES", "FAMILIES", "SYNCS", "Case", "Made"]

SYNCS: dict[str, int] = {
    "partial-ce-2d": 1,
    "partial-ce-per-sample-2d": 1,
    "partial-ce-per-class-2d": 1,
    "partial-ce-floor-2d": 1,
    "partial-ce-classes-2d": 1,
    "partial-dice-2d": 1,
    "partial-dice-ce-2d": 2,
    "partial-ce-3d": 1,
    "partial-ce-per-sample-3d": 1,
    "partial-ce-per-class-3d": 1,
    "partial-ce-floor-3d": 1,
    "partial-ce-classes-3d": 1,
    "partial-dice-3d": 1,
    "partial-dice-ce-3d": 2,
    "constraint-box_strips-2d": 6,
    "constraint-box_strips-3d": 8,
    **{f"equal-volume-{penalty}-{dims}d": 1 for penalty in ("quadratic", "relu", "barrier") for dims in (2, 3)},
    "constraint-group-2d": 4,
    "constraint-group-weight-2d": 4,
    "constraint-group-published-2d": 4,
    "constraint-group-weight-published-2d": 4,
    "dense-crf-exact-2d": 3,
    "dense-crf-lattice-2d": 25,
    "seeding-2d": 1,
    "seeding-balanced-2d": 1,
    "expansion-2d": 1,
    "constrain-to-boundary-2d": 3,
    "dense-crf-exact-3d": 3,
    "dense-crf-lattice-3d": 29,
    "seeding-3d": 1,
    "seeding-balanced-3d": 1,
    "expansion-3d": 1,
    "constrain-to-boundary-3d": 3,
    "seeding-coarse-2d": 1,
    "constrain-to-boundary-lattice-2d": 24,
    "semi-supervised-2d": 2,
    "semi-supervised-teacher-2d": 2,
    "semi-supervised-3d": 2,
    "semi-supervised-teacher-3d": 2,
    "weighted-sum-2d": 4,
    "weighted-sum-3d": 4,
    "augment-jitter-2d": 1,
    "augment-jitter-3d": 1,
    "augment-image-2d": 1,
    "augment-maps-2d": 2,
    "augment-boxes-2d": 3,
    "augment-group-2d": 3,
    "augment-tags-2d": 2,
    "move-size-2d": 2,
    "move-centroid-2d": 2,
    "move-spread-2d": 3,
    "move-length-2d": 3,
    "move-box_strips-2d": 2,
    "move-outside_size-2d": 2,
    "augment-image-3d": 1,
    "augment-maps-3d": 2,
    "augment-boxes-3d": 3,
    "augment-group-3d": 3,
    "augment-tags-3d": 2,
    "move-size-3d": 2,
    "move-centroid-3d": 2,
    "move-spread-3d": 3,
    "move-length-3d": 3,
    "cam-logits-0.4": 1,
    "cam-logits-otsu": 3,
    "cam-scores-predicted-slice": 1,
    "cam-scores-predicted-volume": 1,
    "cam-scores-predicted-evidence": 1,
    "cam-scores-tags-slice": 1,
    "cam-scores-soft-slice": 1,
    "cam-scores-none-slice": 1,
    "refine-by-dense-crf-2d": 5,
    "refine-by-dense-crf-3d": 5,
    "refine-by-dense-crf-slices": 5,
    "warps-2d": 2,
    "spatial-map-matrix-on-device-2d": 1,
    "cue-maps-2d": 1,
    "warps-3d": 2,
    "spatial-map-matrix-on-device-3d": 1,
    "cue-maps-3d": 1,
    "patch-tags": 2,
    "mixed-label-any-2d": 1,
    "mixed-label-any-3d": 1,
    "dual-decoder-2d": 1,
    "dual-decoder-3d": 1,
    "class-shift": 1,
    "set-size": 1,
    "prepare-pseudo-labels-rivals": 6,
    "prepare-pseudo-labels-sample": 4,
    "prepare-pseudo-labels-own": 4,
    "refused-by-bounds-rivals": 4,
    "refused-by-bounds-sample": 2,
    "refused-by-bounds-own": 2,
    "semi-supervised-iteration": 1,
    "semi-supervised-iteration-teacher": 1,
    "slice-store": 6,
    "slice-store-whole-volumes": 10,
    "slice-store-pairs": 2,
    "patch-store": 6,
    "paired-loader": 2,
    "epoch-log": 13,
    "validation-score-2d": 17,
    "validation-score-3d": 17,
    "tag-score": 2,
    "cam-tag-score": 4,
    "snapshots": 8,
    "cam-snapshots": 8,
    "volume-scorer": 3,
}
"""Case -> how often the host may wait for the device, forward and backward together; 0 where it is not named."""

FAMILIES: dict[str, int] = {"constraint-*": 1, "move-*": 5}
"""The same for cases by pattern that `SYNCS` does not name: those of a new descriptor."""


@dataclass
class Made:
    """What a case runs.

    Attributes:
        call: of the inputs and the device; gives tensors, numbers and arrays in any structure.
        inputs: by name, on the CPU.
        wants: the inputs of which gradients are wanted.
        module: the module whose parameters are moved, and whose gradients are compared.
        host: inputs that stay on the CPU, such as a loader's batch.
    """

    call: Callable[[dict[str, Any], torch.device], Any]
    inputs: dict[str, Any]
    wants: tuple[str, ...] = ()
    module: nn.Module | None = None
    host: tuple[str, ...] = ()


@dataclass
class Case:
    """Something to run on a device.

    Attributes:
        name, kind: what it is, and whether a loss, transform, function, engine, store, handler or network.
        make: makes it anew.
        rtol: how far a device may be from the CPU, relative to the largest absolute value of the tensor.
        double: whether it computes in float64 where it gets float64, so that it can be compared with that.
        bf16: how far a loss under autocast in bfloat16 may be from that in float32, relative; None: not compared.
    """

    name: str
    kind: str
    make: Callable[[], Made]
    rtol: float = 1e-4
    double: bool = True
    bf16: float | None = 0.02


CASES: list[Case] = []
SHAPES: dict[int, tuple[int, ...]] = {2: (12, 10), 3: (6, 8, 5)}
BATCH, CLASSES = 2, 3
NAMES = ["background", "ring", "core"]


class Draw:
    """Draws on the CPU from a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator)


def logits(dims: int, seed: int = 0, batch: int = BATCH, classes: int = CLASSES) -> Tensor:
    return 2 * Draw(seed).normal(batch, classes, *SHAPES[dims])


def image(dims: int, seed: int = 1, batch: int = BATCH, channels: int = 1) -> Tensor:
    return Draw(seed).uniform(batch, channels, *SHAPES[dims])


def weak(dims: int, seed: int = 2, batch: int = BATCH) -> Tensor:
    """Class indices of a third of the voxels; none in the last sample."""
    draw = Draw(seed)
    index = draw.whole(0, CLASSES, batch, 1, *SHAPES[dims]).to(torch.uint8)
    index[draw.uniform(batch, 1, *SHAPES[dims]) > 1 / 3] = 255
    return index


def one_hot(dims: int) -> Tensor:
    index = weak(dims)
    return torch.cat([index == k for k in range(CLASSES)], 1).to(torch.uint8)


def spacing(dims: int, batch: int = BATCH) -> Tensor:
    return torch.tensor([1.5, 1.0, 2.5][:dims]).repeat(batch, 1)


def boxes(dims: int, batch: int = BATCH) -> Tensor:
    """A box of each foreground class, two of the last, unknown voxels in one corner."""
    out = torch.zeros(batch, CLASSES, *SHAPES[dims], dtype=torch.uint8)
    out[:, 1, 1:5, 2:7] = 1
    out[:, 2, 0:3, 0:3] = 1
    out[:, 2, 3:6, 4:8] = 2
    out[:, :, -1, -1] = 255
    return out


def region(dims: int) -> Tensor:
    out = Draw(3).whole(0, 2, BATCH, 1, *SHAPES[dims]).to(torch.uint8)
    out[:, :, 0] = 255
    return out


def bounds(descriptor: Any, dims: int, batch: int = BATCH, where: Tensor | None = None) -> Tensor:
    """Intervals around what other logits measure; those of the first sample do not hold, some sides are free."""
    measure = descriptor(logits(dims, 9, batch).softmax(1), spacing=spacing(dims, batch), region=where)
    if getattr(descriptor, "one_bound", False):
        measure = measure.nan_to_num(1.0).mean(2, keepdim=True)
    width = 0.05 * measure.abs() + 0.1
    shift = torch.zeros_like(measure)
    shift[0] = 0.4 * measure[0]
    out = torch.stack((measure + shift - width, measure + shift + width), -1)
    out[:, 1, :, 0] = -math.inf
    out[-1, 0] = torch.tensor([-math.inf, math.inf])
    return out


def flips(dims: int, batch: int = BATCH) -> SpatialMap:
    return RandFlips(axes=(0, 1))(batch, SHAPES[dims], 5)


def add(name: str, kind: str, make: Callable[[], Made], **settings: Any) -> None:
    CASES.append(Case(name, kind, make, **settings))


def add_loss(
    name: str,
    build: Callable[[], nn.Module],
    inputs: Callable[[], dict[str, Any]],
    wants: Sequence[str] = ("logits",),
    run: Callable[[Any, dict[str, Any]], Any] | None = None,
    **settings: Any,
) -> None:
    """A loss, called with its inputs by name; of a constraint, also how far it is violated."""

    def make() -> Made:
        loss = build()

        def call(x: dict[str, Any], device: torch.device) -> Any:
            value = loss(**x) if run is None else run(loss, x)
            violation = getattr(loss, "violation", None)
            return value if violation is None else {"value": value, "violation": violation}

        return Made(call, inputs(), tuple(wants), loss)

    add(name, "loss", make, **settings)


def add_function(
    name: str,
    call: Callable[..., Any],
    inputs: Callable[[], dict[str, Any]],
    wants: Sequence[str] = (),
    kind: str = "function",
    **settings: Any,
) -> None:
    """A function or transform, called with its inputs by name."""
    add(name, kind, lambda: Made(lambda x, device: call(**x), inputs(), tuple(wants)), **settings)


# Losses: partial supervision.

for dims in (2, 3):
    for name, build in (
        ("ce", partial(PartialCrossEntropyLoss)),
        ("ce-per-sample", partial(PartialCrossEntropyLoss, per_sample=True)),
        ("ce-per-class", partial(PartialCrossEntropyLoss, per_class=True)),
        ("ce-floor", partial(PartialCrossEntropyLoss, floor=1e-10)),
        ("ce-classes", partial(PartialCrossEntropyLoss, classes=[0, 2], per_sample=True, per_class=True)),
        ("dice", partial(PartialDiceLoss)),
        ("dice-ce", partial(PartialDiceCELoss, include_background=False, per_class=True)),
    ):
        add_loss(f"partial-{name}-{dims}d", build, lambda d=dims: {"logits": logits(d), "target": weak(d)})
    add_loss(
        f"partial-dice-ce-one-hot-{dims}d",
        partial(PartialDiceCELoss, classes=[1, 2]),
        lambda d=dims: {"logits": logits(d), "target": one_hot(d)},
    )

# Losses: pseudo-labels. The pieces are found on the host, which waits for labels and drawings, once.

for dims in (2, 3):
    for pieces in ("any", "all"):
        add_loss(
            f"mixed-label-{pieces}-{dims}d",
            partial(MixedLabelLoss, pieces=pieces),
            lambda d=dims: {
                "logits": logits(d),
                "teacher": logits(d, 7).softmax(1),
                "share": torch.tensor(0.4),
                "drawn": weak(d),
                "shift": torch.tensor([0.0, 0.7, -0.3]),
                "of_slice": torch.tensor([[-1, 1, 0], [-1, -1, 1]]),
                "boxes": boxes(d),
            },
        )
    add_loss(
        f"dual-decoder-{dims}d",
        lambda: DualDecoderLoss(WeightedSumLoss({"pseudo": [MixedLabelLoss(), 0.5]})),
        lambda d=dims: {
            **{"logits": logits(d), "second": logits(d, 7), "weak_label": weak(d)},
            **{"student_share": torch.tensor(0.4), "teacher": torch.zeros(0)},
        },
        wants=("logits", "second"),
        run=lambda loss, x: {"value": loss((x["logits"], x["second"]), x), **loss.loss.parts},
    )

# Losses: constraints.

PENALTIES = {"quadratic": QuadraticPenalty, "relu": ReLUPenalty, "barrier": LogBarrierExtension}
MEASURES = (*(d() for d in DESCRIPTORS), *(relation(1) for relation in RELATIONS))

for dims in (2, 3):
    for descriptor in MEASURES:
        for name, penalty in PENALTIES.items():
            add_loss(
                f"constraint-{descriptor.name}-{name}-{dims}d",
                lambda d=descriptor, p=penalty: ConstraintLoss(d, p()),
                lambda d=descriptor, n=dims: {"logits": logits(n), "bounds": bounds(d, n), "spacing": spacing(n)},
            )
    add_loss(
        f"constraint-stray_share-drawn-{dims}d",
        lambda: ConstraintLoss(StrayShare(pieces=2, drawn=True), QuadraticPenalty()),
        lambda n=dims: {"logits": logits(n), "bounds": bounds(StrayShare(), n), "region": weak(n)},
    )
    for box_descriptor in (BoxStrips(width=2), OutsideSize()):
        add_loss(
            f"constraint-{box_descriptor.name}-{dims}d",
            lambda d=box_descriptor: ConstraintLoss(d, LogBarrierExtension(), classes=[1, 2]),
            lambda d=box_descriptor, n=dims: {
                "logits": logits(n),
                "bounds": bounds(d, n, where=boxes(n)),
                "region": boxes(n),
            },
        )
    add_loss(
        f"constraint-region-{dims}d",
        lambda: ConstraintLoss(Size(), QuadraticPenalty(), classes=["core"], class_names=NAMES, scale="domain"),
        lambda n=dims: {"logits": logits(n), "bounds": bounds(Size(), n, where=region(n)), "region": region(n)},
    )
    add_loss(
        f"constraint-published-{dims}d",
        lambda: ConstraintLoss(Size(), QuadraticPenalty(), published=True),
        lambda n=dims: {"logits": logits(n), "bounds": bounds(Size(), n)},
    )


def grouped(dims: int, weighted: bool) -> dict[str, Any]:
    group = torch.tensor([4, 1, 4])
    limits = 2 * bounds(Size(), dims, 3)
    limits[2] = limits[0]
    out = {"logits": logits(dims, batch=3), "bounds": limits, "group": group}
    return {**out, "group_weight": torch.tensor([2.0, 1.0, 3.0])} if weighted else out


for published in (False, True):
    for weighted in (False, True):
        add_loss(
            f"constraint-group{'-weight' * weighted}{'-published' * published}-2d",
            lambda p=published: ConstraintLoss(Size(), LogBarrierExtension(), published=p),
            lambda w=weighted: grouped(2, w),
        )

# Losses: constraints across cases and slices.


def across(dims: int, **also: Any) -> dict[str, Any]:
    """Four samples of three volumes, of which the first two are a pair; the last class is free in one of them."""
    limits = torch.tensor([4.0, 4.4]).repeat(4, CLASSES, 1, 1)
    limits[1, 2] = torch.tensor([-math.inf, 4.4])
    return {"logits": logits(dims, batch=4), "bounds": limits, "group": torch.tensor([0, 3, 1, 1]), **also}


for dims in (2, 3):
    for name, penalty in PENALTIES.items():
        add_loss(
            f"equal-volume-{name}-{dims}d",
            lambda p=penalty: EqualVolumeLoss(p()),
            lambda n=dims: across(n, pairs=torch.tensor([[0, 1, 0]]), group_weight=torch.tensor([1.0, 2.0, 1.0, 3.0])),
        )
for name, penalty in PENALTIES.items():
    add_loss(
        f"smooth-areas-{name}-2d",
        lambda p=penalty: SmoothAreasLoss(p()),
        lambda: across(
            2,
            bounds=torch.tensor([-math.inf, 0.1]).repeat(4, CLASSES, 1, 1),
            group=torch.tensor([0, 1, 0, 0]),
            position=torch.tensor([0.0, 8.0, 16.0, 8.0]),
            spacing=spacing(2, 4),
            slice_tags=torch.tensor([[1, 1, -1], [1, 0, 1], [1, 1, 1], [1, 1, -1]]),
        ),
    )
add_loss(
    "constraint-area_change-3d",
    lambda: ConstraintLoss(AreaChange(slice_axis=1, relative=True), LogBarrierExtension()),
    lambda: {"logits": logits(3), "bounds": bounds(AreaChange(slice_axis=1), 3), "spacing": spacing(3)},
)

# Losses: conditional random fields, and seeds that are expanded and constrained.

for dims in (2, 3):
    add_loss(
        f"gated-crf-{dims}d",
        lambda: GatedCRFLoss(radius=2),
        lambda n=dims: {"logits": logits(n), "image": image(n)},
    )
    add_loss(
        f"gated-crf-gates-mm-{dims}d",
        lambda: GatedCRFLoss(
            [{"weight": 0.7, "xy": 4.0, "image": 0.2}, {"xy": 2.0}], radius=1, stride=2, mm=True, source_key="s"
        ),
        lambda n=dims: {
            "logits": logits(n),
            "image": image(n, channels=2),
            "spacing": spacing(n),
            "source": region(n),
            "destination": region(n).flip(2),
        },
    )
    for method in ("exact", "lattice"):
        add_loss(
            f"dense-crf-{method}-{dims}d",
            lambda m=method: DenseCRF(iterations=3, theta_alpha=4.0, theta_gamma=1.0, method=m),
            lambda n=dims: {"logits": logits(n), "image": 255 * image(n), "spacing": spacing(n)},
            wants=(),
            bf16=None,
            rtol=LATTICE if method == "lattice" else 1e-4,
        )
    for balanced in (False, True):
        add_loss(
            f"seeding{'-balanced' * balanced}-{dims}d",
            lambda b=balanced: SeedingLoss(balanced=b),
            lambda n=dims: {"logits": logits(n), "cues": weak(n)},
        )
    add_loss(f"seeding-one-hot-{dims}d", SeedingLoss, lambda n=dims: {"logits": logits(n), "cues": one_hot(n)})
    add_loss(
        f"expansion-{dims}d",
        lambda: ExpansionLoss(present=[0.99, 0.98], absent=0.5),
        lambda n=dims: {"logits": logits(n), "tags": torch.tensor([[1, 1, 0], [1, -1, 1]])},
    )
    add_loss(
        f"constrain-to-boundary-{dims}d",
        lambda: ConstrainToBoundaryLoss(DenseCRF(iterations=2, theta_alpha=3.0, theta_gamma=1.0), stride=2, mm=True),
        lambda n=dims: {"logits": logits(n), "image": image(n), "spacing": spacing(n)},
    )
add_loss(
    "seeding-coarse-2d",
    SeedingLoss,
    lambda: {"logits": logits(2)[..., :6, :5], "cues": weak(2)},
)
add_loss(
    "constrain-to-boundary-lattice-2d",
    lambda: ConstrainToBoundaryLoss(DenseCRF(iterations=2, method="lattice")),
    lambda: {"logits": logits(2), "image": image(2)},
    rtol=LATTICE,
)
add_loss(
    "tag",
    TagLoss,
    lambda: {"logits": Draw(0).normal(3, 2), "tags": torch.tensor([[1, 1, 0], [1, -1, 1], [0, -1, -1]])},
)

# Losses: mutual information and agreement of views.


def clusters(*shape: int, seed: int = 0) -> Tensor:
    return (2 * Draw(seed).normal(*shape)).unflatten(1, (2, -1)).softmax(2).flatten(1, 2)


add_loss(
    "iic",
    lambda: IICLoss(lam=1.5, num_heads=2),
    lambda: {"p": clusters(6, 8), "q": clusters(6, 8, seed=1)},
    wants=("p", "q"),
)
for dims in (2, 3):
    for backend in ("shifted_views", "separable"):
        for patch in (None, [[6, 10], [6, 5, 5]][dims - 2]) if backend == "separable" else (None,):
            add_loss(
                f"local-iic-{backend.replace('_', '-')}{'-patches' if patch else ''}-{dims}d",
                lambda b=backend, s=patch: LocalIICLoss(padding=1, patch_size=s, num_heads=2, backend=b),
                lambda n=dims: {"p": clusters(2, 6, *SHAPES[n]), "q": clusters(2, 6, *SHAPES[n], seed=1)},
                wants=("p", "q"),
                rtol=1e-3,
            )
    for kind in ("mse", "kl"):
        add_loss(
            f"consistency-{kind}-{dims}d",
            lambda k=kind: ConsistencyLoss(k),
            lambda n=dims: {"student_logits": logits(n), "teacher_logits": logits(n, 4)},
            wants=("student_logits",),
        )
    add_loss(f"entropy-{dims}d", EntropyLoss, lambda n=dims: {"logits": logits(n)})

FEATURES = {"deep": {"scale": "global", "importance": 2.0}, "shallow": {"scale": "local", "padding": 1}}


def information(dims: int) -> dict[str, Any]:
    shape = SHAPES[dims]
    return {
        **{"a": clusters(3, 6), "b": clusters(3, 6, seed=1)},
        **{"c": clusters(3, 6, *shape), "d": clusters(3, 6, *shape, seed=1)},
    }


def of_clusters(loss: Any, x: dict[str, Any]) -> Any:
    value = loss({"deep": (x["a"], x["b"]), "shallow": (x["c"], x["d"])})
    return {"value": value, **loss.values}


def semi_supervised(teacher: bool) -> SemiSupervisedLoss:
    return SemiSupervisedLoss(
        labelled={"ce": [PartialCrossEntropyLoss(), 1.0]},
        unlabelled={"entropy": [EntropyLoss(), 0.1], "size": [ConstraintLoss(Size(), QuadraticPenalty()), 0.3]},
        consistency=[ConsistencyLoss("kl"), 2.0],
        mutual_information=[FeatureMutualInformationLoss(FEATURES, num_heads=2), 0.5],
        teacher=teacher,
    )


def of_views(dims: int, loss: Any, x: dict[str, Any]) -> Any:
    pairs = {"deep": (x["a"], x["b"]), "shallow": (x["c"], x["d"])}
    output = {"labelled": x["logits"], **{key: x[key] for key in ("first", "second", "teacher")}, "clusters": pairs}
    target = {"weak_label": x["target"], "bounds_size": x["bounds"], "view": flips(dims, 3)}
    return {"value": loss(output, target), **loss.parts}


for dims in (2, 3):
    add_loss(
        f"feature-information-{dims}d",
        lambda: FeatureMutualInformationLoss(FEATURES, num_heads=2),
        lambda n=dims: information(n),
        wants=("a", "b", "c", "d"),
        run=of_clusters,
        rtol=1e-3,
    )
    for teacher in (False, True):
        add_loss(
            f"semi-supervised{'-teacher' * teacher}-{dims}d",
            lambda t=teacher: semi_supervised(t),
            lambda n=dims: {
                **{"logits": logits(n), "first": logits(n, 4, 3), "second": logits(n, 5, 3)},
                **{"teacher": logits(n, 6, 3), "target": weak(n, batch=5), "bounds": bounds(Size(), n, 5)},
                **information(n),
            },
            wants=("logits", "first", "second", "a", "c"),
            run=partial(of_views, dims),
            rtol=1e-3,
        )

# Losses: class activation maps that change as their image.


def maps(dims: int, modalities: int = 2, seed: int = 0) -> Tensor:
    return Draw(seed).uniform(modalities, 4, *SHAPES[dims])


TAGS = torch.tensor([1, 0, 1, -1])

for dims in (2, 3):
    add_loss(
        f"within-modality-{dims}d",
        lambda: WithinModalityEquivarianceLoss("mean", "all"),
        lambda n=dims: {
            **{"maps1": maps(n), "maps2": maps(n, seed=1), "tags": TAGS},
            "valid": Draw(7).uniform(4, 1, *SHAPES[n]) > 0.2,
        },
        wants=("maps1", "maps2"),
    )
    add_loss(
        f"cross-modality-{dims}d",
        CrossModalityEquivarianceLoss,
        lambda n=dims: {
            **{"maps1": maps(n), "maps2": maps(n, seed=1), "tags": TAGS},
            **{"correct1": Draw(8).uniform(2, 4) > 0.3, "correct2": Draw(9).uniform(2, 4) > 0.3},
        },
        wants=("maps1", "maps2"),
    )
add_loss(
    "exchange",
    ClassDistributionExchangeLoss,
    lambda: {"logits": 5 * Draw(0).normal(3, 4, 2), "logits2": 5 * Draw(1).normal(3, 4, 2)},
    wants=("logits", "logits2"),
)
add_loss("classification", ClassificationLoss, lambda: {"logits": Draw(0).normal(2, 4, 2), "tags": TAGS})


def equivariant() -> EquivariantCAMLoss:
    terms = {
        "classification": [ClassificationLoss(), 1.0],
        "exchange": [ClassDistributionExchangeLoss(), 0.5],
        "within": [WithinModalityEquivarianceLoss(), 0.3],
        "cross": [CrossModalityEquivarianceLoss(), 0.2],
    }
    return EquivariantCAMLoss(2, terms)


def of_family(family: str, dims: int, loss: Any, x: dict[str, Any]) -> Any:
    view = RandEquivariantTransform(family)(4, SHAPES[dims], 3)
    return {"value": loss(x["logits"], {"slice_tags": x["tags"], "view": view}), **loss.parts}


def raw_maps(dims: int, batch: int = 4, each: int = 2) -> Tensor:
    return Draw(0).normal(batch, 2 * each, *SHAPES[dims]) + 0.3


for dims in (2, 3):
    for family in ("flip", "turn", "translation", "scaling"):
        add_loss(
            f"equivariant-cam-{family}-{dims}d",
            equivariant,
            lambda n=dims: {
                "logits": torch.stack((raw_maps(n), raw_maps(n).flip(0))),
                "tags": torch.stack((1 - TAGS.clamp(0), TAGS), 1),
            },
            run=partial(of_family, family, dims),
        )

# Losses: the sum of several.


def several() -> WeightedSumLoss:
    return WeightedSumLoss(
        {
            "partial": [PartialDiceCELoss(), 1.0],
            "size": [ConstraintLoss(Size(), LogBarrierExtension()), 0.1],
            "length": [ConstraintLoss(Length(), QuadraticPenalty(), classes=[1]), 0.1],
            "crf": [GatedCRFLoss(radius=1), 0.2],
            "dense": [nn.CrossEntropyLoss(), 0.5],
        },
        temperature=2.0,
    )


class OfNnunet(nn.Module):
    """In the place of nnU-Net's loss, which waits as it likes."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return output.mean() * 0.0


for dims in (2, 3):
    add_loss(
        f"nnunet-{dims}d",
        lambda d=dims: ConstrainedLoss(
            OfNnunet(),
            Constraints(size_bounds={"core": [40, 90]}, volume_bounds={"core": [0.1, 0.2]}),
            NAMES,
            (2.0,) * d,
            255,
            True,
        ),
        lambda d=dims: {"logits": logits(d), "weak_label": weak(d).long()},
        run=lambda loss, x: loss(x["logits"], x["weak_label"]),
    )


def targets(dims: int, batch: int = BATCH) -> dict[str, Tensor]:
    return {
        **{"weak_label": weak(dims, batch=batch), "image": image(dims, batch=batch)},
        **{"bounds_size": bounds(Size(), dims, batch), "bounds_length": bounds(Length(), dims, batch)},
        **{"spacing": spacing(dims, batch), "label": Draw(6).whole(0, CLASSES, batch, *SHAPES[dims])},
    }


for dims in (2, 3):
    add_loss(
        f"weighted-sum-{dims}d",
        several,
        lambda n=dims: {"logits": logits(n), **targets(n)},
        run=lambda loss, x: {
            "value": loss(x["logits"], {key: value for key, value in x.items() if key != "logits"}),
            **loss.parts,
            **{f"violation_{name}": value for name, value in loss.violations.items()},
        },
    )

# Transforms of batches.

SQUARE = {2: (12, 12), 3: (6, 6, 5)}


def batch_of(dims: int, *more: str, batch: int = 4) -> dict[str, Any]:
    """A loader's batch on a grid with quarter turns."""
    draw, shape = Draw(11), SQUARE[dims]
    index = draw.whole(0, CLASSES, batch, 1, *shape).to(torch.uint8)
    index[draw.uniform(batch, 1, *shape) > 0.3] = 255
    channels = torch.zeros(batch, CLASSES, *shape, dtype=torch.uint8)
    channels[:, 1, 2:5, 1:4] = 1
    channels[:, 2, 3:, 3:] = 1
    tags = torch.tensor([[1, 1, 1], [1, 0, 1], [1, -1, 1], [1, 1, 0]])
    every = {
        "image": draw.uniform(batch, 1, *shape),
        "spacing": torch.tensor([1.5, 1.0, 3.0][:dims]).repeat(batch, 1),
        "weak_label": index,
        "label": draw.whole(0, CLASSES, batch, 1, *shape).to(torch.uint8),
        "boxes": channels,
        "group": torch.tensor([1, 0, 1, 0])[:batch],
        "slice_tags": tags[:batch],
        "tags": tags.flip(0)[:batch],
    }
    return {key: every[key] for key in ("image", "spacing", *more)}


def augment(dims: int, **settings: Any) -> BatchAugment:
    chosen = {"affine_probability": 0.8, "intensity_probability": 0.8, "translation": 0.2, "noise": 0.0, **settings}
    return BatchAugment(CLASSES, **chosen)


for dims in (2, 3):
    for name, keys in (
        ("image", ()),
        ("maps", ("weak_label", "label")),
        ("boxes", ("weak_label", "boxes")),
        ("group", ("weak_label", "group")),
        ("tags", ("weak_label", "slice_tags", "tags")),
    ):
        add_function(
            f"augment-{name}-{dims}d",
            lambda n=dims, **x: augment(n)(x, 17),
            lambda n=dims, k=keys: batch_of(n, *k),
            kind="transform",
        )
    add_function(
        f"augment-jitter-{dims}d",
        lambda **x: JitterAugment(CLASSES, noise=0.0)(x, 17),
        lambda n=dims: batch_of(n, "weak_label"),
        kind="transform",
    )
    for moved in (*MEASURES, AreaChange(), BoxStrips(width=2), OutsideSize()):
        if dims == 3 and moved.name in ("box_strips", "outside_size"):
            continue

        def move(descriptor: Any, dims: int, limits: Tensor, **x: Tensor) -> Any:
            out = augment(dims)(x, 23)
            return descriptor.move(limits, out["matrix"], out["cut"], (out["spacing_before"], out["spacing"]))

        add_function(
            f"move-{moved.name}-{dims}d",
            partial(move, moved, dims),
            lambda d=moved, n=dims: {
                "limits": torch.stack(
                    (torch.full((4, CLASSES, d.components(n)), 2.0), torch.full((4, CLASSES, d.components(n)), 5.0)), -1
                ),
                **batch_of(n, "weak_label"),
            },
            kind="transform",
        )


def moved_by(draw: Callable[..., SpatialMap], image: Tensor, coarse: Tensor) -> Any:
    view = draw(len(image), tuple(image.shape[2:]), 3)
    return {"image": view(image), "coarse": view(coarse), "valid": view.valid(None, image.device)}


for dims in (2, 3):
    for name, draw_map in (
        ("flips", RandFlips(turns=(0, 1))),
        *((family, RandEquivariantTransform(family)) for family in ("flip", "turn", "translation", "scaling")),
    ):
        add_function(
            f"views-{name}-{dims}d",
            partial(moved_by, draw_map),
            lambda n=dims: {
                "image": batch_of(n)["image"],
                "coarse": nn.functional.avg_pool2d(batch_of(n)["image"].flatten(0, 1), 2).unsqueeze(1)
                if n == 2
                else nn.functional.avg_pool3d(batch_of(n)["image"], (2, 2, 1)),
            },
            wants=("image", "coarse"),
            kind="transform",
        )

# Transforms of one case.

for threshold in (0.4, "otsu"):
    add_function(
        f"cam-logits-{threshold}",
        lambda score, t=threshold: CAMLogits(t)(score),
        lambda: {"score": Draw(0).uniform(1, *SHAPES[3])},
        kind="transform",
        double=False,
    )
for gate in ("predicted", "tags", "soft", "none"):
    for normalize in ("slice", "volume", "evidence") if gate == "predicted" else ("slice",):
        add_function(
            f"cam-scores-{gate}-{normalize}",
            lambda raw, tags, g=gate, n=normalize: CAMScores(2, gate=g, normalize=n).all_maps(raw, tags),
            lambda: {
                "raw": raw_maps(3, 1)[0],
                "tags": torch.tensor([[1, 1], [1, 0], [0, 1], [1, -1], [1, 1]]),
            },
            kind="transform",
            double=False,
        )
for name, dims, axis in (("2d", 2, None), ("3d", 3, None), ("slices", 3, 2)):
    add_function(
        f"refine-by-dense-crf-{name}",
        lambda prediction, image, a=axis: RefineByDenseCRF(a, iterations=2, theta_alpha=4.0)(prediction, image),
        lambda n=dims: {"prediction": logits(n)[0], "image": image(n)[0]},
        kind="transform",
        double=False,
        rtol=1e-3,
    )

# Functions.


def matrices(dims: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    shape = SQUARE[dims]
    return augment(dims).draw(4, shape, batch_of(dims)["spacing"].double(), generator)[0]


for dims in (2, 3):
    add_function(
        f"warps-{dims}d",
        lambda matrix, image, index, n=dims: {
            "image": warps.warp_image(image, warps.resampling_grid(matrix, SQUARE[n], image.device)),
            "index": warps.warp_index(index, warps.resampling_grid(matrix, SQUARE[n], image.device)),
        },
        lambda n=dims: {
            "matrix": matrices(n),
            "image": batch_of(n)["image"],
            "index": batch_of(n, "label")["label"],
        },
        wants=("image",),
    )
    add_function(
        f"about-centre-{dims}d",
        lambda linear, n=dims: warps.about_centre(linear, linear.new_zeros(len(linear), n), SQUARE[n]),
        lambda n=dims: {"linear": matrices(n)[:, :-1, :-1].contiguous()},
    )
    add_function(
        f"spatial-map-matrix-on-device-{dims}d",
        lambda matrix, image, n=dims: SpatialMap(matrix, SQUARE[n])(image),
        lambda n=dims: {"matrix": matrices(n), "image": batch_of(n)["image"]},
        wants=("image",),
    )
    for decay in (0.0, 0.9, [0.0, 0.95, 1.0]):
        add_function(
            f"rank-pooling-{'each' if isinstance(decay, list) else decay}-{dims}d",
            lambda values, d=decay: rank_pooling(values, d),
            lambda n=dims: {"values": logits(n)},
            wants=("values",),
        )
    for backend in ("auto", "shifted_views") if dims == 2 else ("auto",):
        add_function(
            f"local-joint-{backend.replace('_', '-')}-{dims}d",
            lambda p, q, b=backend, n=dims: local_joint(p, q, (1, 2, 1)[:n], 2, b),
            lambda n=dims: {"p": clusters(2, 6, *SHAPES[n]), "q": clusters(2, 6, *SHAPES[n], seed=1)},
            wants=("p", "q"),
        )
    add_function(
        f"cue-maps-{dims}d",
        lambda cues, image, n=dims: {
            "cues": cue_maps.cues_on_grid(cues, [s // 2 for s in SHAPES[n]], CLASSES),
            "image": cue_maps.image_on_grid(image, [s // 2 for s in SHAPES[n]]),
            "blocks": cue_maps.block_mean(image, [2] * n),
        },
        lambda n=dims: {"cues": weak(n), "image": image(n)},
        wants=("image",),
    )
    add_function(f"hard-classes-{dims}d", hard_classes, lambda n=dims: {"logits": logits(n)})
    add_function(
        f"max-norm-{dims}d",
        lambda values, n=dims: max_norm(values, n),
        lambda n=dims: {"values": logits(n)},
        wants=("values",),
    )
    add_function(
        f"cams-{dims}d",
        lambda raw, n=dims: {
            "maps": cams.split_channels(raw, 2)[0],
            "shown": cams.split_channels(raw, 2)[1],
            "tags": cams.tag_logits(cams.split_channels(raw, 2)[0]),
            "slices": cams.slice_tag_logits(raw[0], 2),
        },
        lambda n=dims: {"raw": raw_maps(n, 2, 3)},
        wants=("raw",),
    )
    add_function(
        f"grad-cam-{dims}d",
        lambda features, weight, n=dims: {
            "cam": cam_cues.activation_maps(features, weight),
            "gradcam": grad_cam.grad_cam(features, weight),
            "gradcam++": grad_cam.grad_cam_pp(features, weight),
            "saliency": cam_cues.gradient_saliency(features, lambda f: f.square().flatten(2).mean(2) @ weight.T),
            "finer": cam_cues.maps_on_grid(features, [2 * s for s in features.shape[2:]]),
            "centres": cam_cues.maps_on_grid(features, [2 * s for s in features.shape[2:]], 2),
        },
        lambda n=dims: {"features": Draw(0).uniform(2, 4, *SHAPES[n]), "weight": Draw(1).normal(3, 4)},
        wants=("features", "weight"),
    )
add_function(
    "patch-tags",
    lambda rows, tags, weak_label: {
        "slices": patch_tags.tags_of_slices(rows),
        "volume": patch_tags.tags_of_volume(tags, rows),
        "part": patch_tags.tags_of_part(tags, weak_label, rows),
    },
    lambda: {
        "rows": torch.tensor([[1, 0, -1], [1, 0, 1], [1, 0, 0]]),
        "tags": torch.tensor([1, -1, 1]),
        "weak_label": weak(3)[0, 0],
    },
)
add_function(
    "longest-absence",
    patch_tags.longest_absence,
    lambda: {"rows": torch.tensor([[1, 0, -1], [1, 0, 1], [1, 0, 0]])},
)

# Engines: what a trainer calls in an iteration.


def host_case(
    name: str, kind: str, make_batch: Callable[[], dict[str, Any]], call: Callable[..., Any], **settings: Any
) -> None:
    """A batch of the loader, which lies on the CPU."""

    def make() -> Made:
        content = make_batch()
        return Made(call, content, host=tuple(content))

    add(name, kind, make, **settings)


def training_batch(dims: int, *more: str, **settings: Any) -> dict[str, Any]:
    batch = batch_of(dims, "weak_label", *more, **settings)
    size = torch.tensor([5.0, 60.0]).repeat(len(batch["image"]), CLASSES, 1, 1)
    return {**batch, "bounds_size": size, "bounds_length": size.clone(), "draw": torch.tensor(31)}


def sizes_and_lengths(**more: Any) -> WeightedSumLoss:
    return WeightedSumLoss(
        {
            "partial": [PartialCrossEntropyLoss(), 1.0],
            "size": [ConstraintLoss(Size(), LogBarrierExtension()), 0.1],
            "length": [ConstraintLoss(Length(), QuadraticPenalty()), 0.1],
            **more,
        }
    )


def two_views(dims: int, x: dict[str, Any], device: torch.device) -> Any:
    draw_view = RandEquivariantTransform("turn")
    settings = augment(dims)
    settings.num_classes = 2
    image, found, _, more = PrepareViews(equivariant(), draw_view, settings)(x, device)
    outputs = TwoViews()(image, lambda seen: 2 * seen, view=more["view"])
    return {"image": image, "tags": found["slice_tags"], "outputs": outputs}


for dims in (2, 3):
    host_case(
        f"prepare-targets-{dims}d",
        "engine",
        lambda n=dims: training_batch(n),
        lambda x, device: PrepareTargets(sizes_and_lengths())(x, device),
    )
    host_case(
        f"prepare-targets-augment-{dims}d",
        "engine",
        lambda n=dims: training_batch(n, "boxes", "slice_tags"),
        lambda x, device, n=dims: PrepareTargets(
            sizes_and_lengths(), augment(n), channels_last=n == 2, also=("boxes", "slice_tags")
        )(x, device),
    )

    host_case(
        f"prepare-views-{dims}d",
        "engine",
        lambda n=dims: {
            **batch_of(n, "weak_label"),
            "slice_tags": torch.tensor([[0, 1], [1, 0], [1, 1], [0, 1]]),
            "draw": torch.tensor(31),
        },
        lambda x, device, n=dims: two_views(n, x, device),
    )


def tiny(dims: int, classes: int = CLASSES) -> nn.Sequential:
    torch.manual_seed(0)
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    return nn.Sequential(conv(1, 4, 3, padding=1), norm(4), nn.ReLU(), conv(4, classes, 1))


def with_network(
    name: str,
    kind: str,
    build: Callable[[], nn.Module],
    make_inputs: Callable[[], dict[str, Any]],
    call: Callable[..., Any],
    host: bool = False,
    wants: Sequence[str] = (),
    **settings: Any,
) -> None:
    """A case whose function gets the module first."""

    def make() -> Made:
        module, content = build(), make_inputs()
        return Made(partial(call, module), content, tuple(wants), module, tuple(content) if host else ())

    add(name, kind, make, **settings)


def pseudo_labels(too_small: str, weight: float, network: nn.Module, x: dict[str, Any], device: torch.device) -> Any:
    loss = sizes_and_lengths(pseudo=[PartialCrossEntropyLoss(target_key="pseudo_label"), weight])
    prepare = PreparePseudoLabels(
        loss, network.eval(), augment(2), threshold=0.36, too_small=too_small, mirror=True, amp=False
    )
    image, found = prepare(x, device)
    return {"image": image, "labels": found["pseudo_label"], **prepare.logged}


for too_small in ("rivals", "sample", "own", "off"):
    with_network(
        f"prepare-pseudo-labels-{too_small}",
        "engine",
        lambda: tiny(2),
        lambda: training_batch(2),
        partial(pseudo_labels, "rivals" if too_small == "off" else too_small, float(too_small != "off")),
        host=True,
    )


def taught(weight: float, network: nn.Module, x: dict[str, Any], device: torch.device) -> Any:
    loss = WeightedSumLoss({"pseudo": [MixedLabelLoss(), weight]})
    prepare = PrepareTeacher(loss, network.eval(), augment(2), set_size=SimpleNamespace(shift=torch.ones(CLASSES)))
    image, found = prepare(x, device)
    return {"image": image, **{key: found[key] for key in ("teacher", "student_share", "class_shift", "slice_tags")}}


def sized(network: nn.Module, x: dict[str, Any], device: torch.device) -> Any:
    volumes = [
        {"image": image, "weak_label": drawn, "expected_size": size, "slice_tags": torch.ones(5, CLASSES)}
        for image, drawn, size in zip(x["images"], x["drawn"], x["sizes"], strict=True)
    ]
    sizes = SetSize(
        network.eval(),
        WeightedSumLoss({"pseudo": [MixedLabelLoss(), 1.0]}),
        volumes,
        lambda image, net: net(image),
        NAMES,
        every=1,
    )
    engine = SimpleNamespace(state=SimpleNamespace(iteration=1, device=device, max_epochs=2, epoch_length=3))
    sizes(engine)  # type: ignore[arg-type]
    return sizes.logged


for weight in (0.0, 0.5):
    with_network(
        f"prepare-teacher{'-asked' * (weight > 0)}",
        "engine",
        lambda: tiny(2),
        lambda: training_batch(2, "slice_tags"),
        partial(taught, weight),
        host=True,
    )
with_network(
    "set-size",
    "handler",
    lambda: tiny(3),
    lambda: {
        "images": [image(3, seed, 1)[0] for seed in (1, 2)],
        "drawn": [weak(3, seed, 1)[0] for seed in (1, 2)],
        "sizes": [torch.tensor([math.nan, 30.0, 50.0]).repeat(5, 1), torch.tensor([math.nan, 40.0, 10.0]).repeat(5, 1)],
    },
    sized,
    host=True,
    double=False,
)
add_function(
    "class-shift",
    lambda probs, sizes, expected: vars(class_shift([probs[0], probs[1]], sizes, expected)),
    lambda: {
        "probs": logits(2, 4).softmax(1),
        "sizes": torch.tensor([[1.0, 2.0, 2.0], [1.0, 1.0, 0.0]]),
        "expected": torch.tensor([math.nan, 60.0, 50.0]),
    },
)
for too_small in ("rivals", "sample", "own"):
    add_function(
        f"refused-by-bounds-{too_small}",
        lambda probs, limits, t=too_small: refused_by_bounds(probs, limits, Size(), too_small=t),
        lambda: {
            "probs": logits(2).softmax(1),
            "limits": torch.tensor([[20.0, 30.0], [50.0, 60.0], [0.0, 10.0]]).repeat(BATCH, 1, 1).unsqueeze(2),
        },
        kind="engine",
    )


def trained_pair(teacher: bool, network: Any, x: dict[str, Any], device: torch.device) -> Any:
    loss = SemiSupervisedLoss(
        labelled={"ce": [PartialCrossEntropyLoss(), 1.0]},
        consistency=[ConsistencyLoss(), 2.0],
        mutual_information=[FeatureMutualInformationLoss(CLUSTERS, num_heads=2), 0.5],
        teacher=teacher,
    )
    prepare = PrepareSemiSupervised(loss, RandFlips(), augment(2))
    image, found, _, more = prepare(x, device)
    inferer = SemiSupervisedInferer(loss, network.network if teacher else None)
    return {"value": loss(inferer(image, network, **more), found), **loss.parts}


CLUSTERS = {"0": {"scale": "local", "padding": 1}, "2": {"scale": "global"}}
for teacher in (False, True):
    with_network(
        f"semi-supervised-iteration{'-teacher' * teacher}",
        "engine",
        lambda: ClusterNetwork(tiny(2), CLUSTERS, num_clusters=4, num_heads=2, probe_size=8),
        lambda: {**training_batch(2), "labelled": torch.tensor(1)},
        partial(trained_pair, teacher),
        host=True,
        rtol=1e-3,
    )
with_network(
    "slices-inferer",
    "engine",
    lambda: tiny(2),
    lambda: {"image": image(3)},
    lambda network, x, device: SlicesInferer(2, 3)(x["image"], lambda part: network(part).flatten(2).mean(2)),
    wants=("image",),
)


def stepped(network: nn.Sequential, x: dict[str, Any], device: torch.device) -> Any:
    optimizer = SeveralOptimizers(
        [torch.optim.SGD(network[0].parameters(), 0.1, momentum=0.9), torch.optim.Adam(network[3].parameters(), 0.01)]
    )
    for _ in range(2):
        optimizer.zero_grad()
        network(x["image"]).square().mean().backward()
        optimizer.step()
    found = [parameter.detach() for parameter in network.parameters()]
    network.zero_grad()
    return found


with_network("several-optimizers", "engine", lambda: tiny(2), lambda: {"image": image(2)}, stepped, rtol=1e-3)

# Stores: batches of the loader, on their way to the network.


def volumes(bounded: bool = True) -> list[dict[str, Any]]:
    out = []
    for number in range(2):
        draw, shape = Draw(number), (12, 12, 4)
        index = draw.whole(0, CLASSES, 1, *shape).to(torch.uint8)
        index[draw.uniform(1, *shape) > 0.4] = 255
        case = {"case": f"c{number}", "image": draw.uniform(1, *shape), "weak_label": index}
        size = torch.tensor([[[2.0, 90.0]]]).repeat(CLASSES, 1, 1)
        case["slice_tags"] = torch.tensor([[1, 1, 1], [1, 0, 1], [1, -1, 1], [1, 1, 0]])
        out.append({**case, "bounds_size": size} if bounded else case)
    return out


def sizes() -> WeightedSumLoss:
    return WeightedSumLoss(
        {
            "partial": [PartialCrossEntropyLoss(), 1.0],
            "size": [ConstraintLoss(Size(), QuadraticPenalty()), 0.1],
            "tags": [ExpansionLoss(), 0.1],
        }
    )


def of_loader(loader: Any, loss: WeightedSumLoss, x: dict[str, Any], device: torch.device) -> Any:
    prepare = PrepareTargets(loss, augment(2, turns=None, flips=(0,)))
    found = []
    for batch in loader:
        seen, wanted = prepare(batch, device)
        guess = torch.cat((seen, seen.square(), 1 - seen), 1)
        found.append({"image": seen, "targets": wanted, "value": loss(guess, wanted)})
    return found


def loader_case(name: str, build: Callable[[], Any], loss: Callable[[], WeightedSumLoss]) -> None:
    host_case(name, "store", dict, lambda x, device: of_loader(build(), loss(), x, device), double=False)


loader_case(
    "slice-store",
    lambda: BatchLoader(SliceStore(volumes(False)), batch_size=3),
    lambda: WeightedSumLoss({"partial": [PartialCrossEntropyLoss(), 1.0], "tags": [ExpansionLoss(), 0.1]}),
)
loader_case(
    "slice-store-whole-volumes",
    lambda: BatchLoader(SliceStore(volumes()), volume_sampler=VolumeBatchSampler(3)),
    lambda: WeightedSumLoss(
        {"partial": [PartialCrossEntropyLoss(), 1.0], "size": [ConstraintLoss(Size(), LogBarrierExtension()), 0.1]}
    ),
)
loader_case(
    "patch-store",
    lambda: BatchLoader(PatchStore(volumes(), (8, 8, 4), patches_per_volume=2), batch_size=2),
    lambda: WeightedSumLoss(
        {
            "partial": [PartialCrossEntropyLoss(), 1.0],
            "size": [ConstraintLoss(Size(), QuadraticPenalty()), 0.1],
            "tags": [ExpansionLoss(tags_key="tags"), 0.1],
        }
    ),
)
loader_case(
    "paired-loader",
    lambda: PairedLoader(SliceStore(volumes(False)), SliceStore(volumes(False)), 2, 2, 2),
    lambda: WeightedSumLoss({"partial": [PartialCrossEntropyLoss(), 1.0]}),
)


def across_loss() -> WeightedSumLoss:
    return WeightedSumLoss(
        {
            "partial": [PartialCrossEntropyLoss(), 1.0],
            "size": [EqualVolumeLoss(QuadraticPenalty()), 0.1],
            "smooth": [SmoothAreasLoss(QuadraticPenalty()), 0.1],
        }
    )


loader_case(
    "slice-store-pairs",
    lambda: BatchLoader(
        SliceStore([{**case, "patient": "p", "bounds_smooth": case["bounds_size"]} for case in volumes()]),
        volume_sampler=VolumeBatchSampler(pairs="patient"),
    ),
    across_loss,
)

# Handlers: what they do in an iteration or a validation.


def logged_epoch(loss: Any, x: dict[str, Any], device: torch.device) -> Any:
    """An epoch of three iterations with its row of the log."""
    parameter = nn.Parameter(torch.zeros(1))
    wanted = {key: value for key, value in x.items() if key != "logits"}
    with tempfile.TemporaryDirectory() as folder:
        log = EpochLog(folder, loss, torch.optim.SGD([parameter], 0.1), tensorboard=False)
        engine = Engine(lambda _, number: {"loss": loss(x["logits"] * number, wanted)})
        log.attach(engine)
        engine.run([1.0, 0.5, 2.0], max_epochs=1)
    return {key: value for key, value in log.rows[-1].items() if key.startswith(("loss", "violation"))}


with_network("epoch-log", "handler", several, lambda: {"logits": logits(2), **targets(2)}, logged_epoch)


def validated(dims: int, x: dict[str, Any]) -> dict[str, float]:
    limits = ConstantBoundsd(values={}, class_names=NAMES, unit="voxel", slice_axis=2 if dims == 3 else None)
    score = ValidationScore(NAMES, [limits], slice_axis=2 if dims == 3 else None)
    score.update((x["logits"], x))
    return {**score.values(), "key": score.compute()}


for dims in (2, 3):
    add_function(
        f"validation-score-{dims}d",
        lambda n=dims, **x: validated(n, x),
        lambda n=dims: {
            **{"logits": logits(n), "image": image(n), "weak_label": weak(n)},
            "label": Draw(6).whole(0, CLASSES, BATCH, 1, *SHAPES[n]).to(torch.uint8),
            "bounds_size": torch.tensor([5.0, 40.0]).repeat(BATCH, *([SHAPES[3][2]] if n == 3 else []), CLASSES, 1, 1),
        },
        kind="handler",
        double=False,
    )


def tag_scored(logits: Tensor, tags: Tensor) -> dict[str, float]:
    score = TagScore(NAMES)
    score.update((logits, tags))
    return {**score.values(), "key": score.compute()}


add_function(
    "tag-score",
    tag_scored,
    lambda: {
        "logits": Draw(0).normal(4, 2),
        "tags": torch.tensor([[1, 1, 0], [1, 0, 1], [1, -1, 0], [1, 1, -1]]),
    },
    kind="handler",
)


def cam_scored(raw: Tensor, tags: Tensor) -> dict[str, float]:
    score = CAMTagScore(["background", "tumour"], 2)
    score.update((raw, tags))
    return {**score.values(), "key": score.compute()}


SLICE_TAGS = torch.tensor([[1, 1], [1, 0], [1, -1], [1, 1], [1, 0]])
add_function(
    "cam-tag-score",
    cam_scored,
    lambda: {"raw": raw_maps(3, 2), "tags": SLICE_TAGS.repeat(2, 1, 1)},
    kind="handler",
)


def averaged(network: nn.Module, x: dict[str, Any], device: torch.device) -> Any:
    average = AveragedNetwork(network, 0.9)
    for _ in range(3):
        network(x["image"])
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1)
        average.update()
    return list(average.network.state_dict().values())


with_network("averaged-network", "handler", lambda: tiny(2), lambda: {"image": image(2)}, averaged)


def norms(network: nn.Module, x: dict[str, Any], device: torch.device) -> Any:
    loss = equivariant()
    loss.keep_live = True
    view = RandEquivariantTransform("flip")(4, SHAPES[2], 3)
    loss(TwoViews()(x["image"], network, view=view), {"slice_tags": x["tags"], "view": view})
    return {name: gradient_norm(value, list(network.parameters())) for name, value in loss.live.items()}


with_network(
    "gradient-norms",
    "handler",
    lambda: tiny(2, 4),
    lambda: {"image": image(2, batch=4), "tags": torch.stack((1 - TAGS.clamp(0), TAGS), 1)},
    norms,
    rtol=1e-3,
)


def drawn(x: dict[str, Any], cam: bool) -> list[Any]:
    """What a handler hands to the function that draws."""
    seen: list[Any] = []

    def panel(*arguments: Any, **settings: Any) -> Image.Image:
        seen.extend(value for value in (arguments[0], arguments[1]) if isinstance(value, (np.ndarray, Mapping)))
        return Image.new("RGB", (8, 8))

    def infer(engine: Engine, batch: Any) -> dict[str, Any]:
        return {"pred": batch["logits"]}

    evaluator, trainer = Engine(infer), Engine(lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        if cam:
            handler: Snapshots = CAMSnapshots(folder, evaluator, CAMScores(2), 1, panel=panel)
        else:
            handler = Snapshots(folder, evaluator, NAMES, 1, panel=panel)
        handler.attach(trainer)
        evaluator.run([x])
        if handler.writer is not None:
            handler.writer.close()
    return seen


add_function(
    "snapshots",
    lambda **x: drawn(x, False),
    lambda: {
        **{"logits": logits(3), "image": image(3), "weak_label": weak(3)},
        "label": Draw(6).whole(0, CLASSES, BATCH, 1, *SHAPES[3]).to(torch.uint8),
    },
    kind="handler",
    double=False,
)
add_function(
    "cam-snapshots",
    lambda **x: drawn(x, True),
    lambda: {
        **{"logits": raw_maps(3, 2), "image": image(3, channels=2), "slice_tags": SLICE_TAGS.repeat(2, 1, 1)},
        "label": Draw(6).whole(0, 2, BATCH, 1, *SHAPES[3]).to(torch.uint8),
    },
    kind="handler",
    double=False,
)


def volume_scored(prediction: Tensor, label: Tensor, limits: Tensor) -> Any:
    made = ConstantBoundsd(values={}, class_names=NAMES, unit="voxel", slice_axis=2)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "evaluation" / "predictions").mkdir(parents=True)
        scorer = VolumeScorer(folder, NAMES, [made])
        scored = scorer({"case": "a"}, {"label": label, "bounds_size": limits}, prediction)
    numbers = [value for row in (*scored.rows, *scored.constraints) for value in row.values()]
    return [float(value) for value in numbers if isinstance(value, (int, float))], scored.confusion


add_function(
    "volume-scorer",
    volume_scored,
    lambda: {
        "prediction": Draw(5).whole(0, CLASSES, 1, *SHAPES[3]).to(torch.uint8),
        "label": Draw(6).whole(0, CLASSES, 1, *SHAPES[3]).to(torch.uint8),
        "limits": torch.tensor([5.0, 40.0]).repeat(SHAPES[3][2], CLASSES, 1, 1),
    },
    kind="handler",
)

# Networks.


def network_case(
    name: str, build: Callable[[], nn.Module], *shape: int, wants: tuple[str, ...] = ("image",), **settings: Any
) -> None:
    """A network in training mode."""

    def make() -> Made:
        torch.manual_seed(0)
        network = build()
        return Made(lambda x, device: network(x["image"]), {"image": Draw(1).uniform(*shape)}, wants, network)

    add(name, "network", make, **{"rtol": 1e-3, **settings})


def cluster_network(dims: int, separate: bool) -> ClusterNetwork:
    basic = BasicUNet(dims, 1, 2, features=(2, 3, 4, 5, 6, 2), norm="instance" if separate else "batch")
    features = {"down_4": {"scale": "global"}, "upcat_1": {"scale": "local", "padding": 1}}
    settings = {
        "num_clusters": 3,
        "num_heads": 2,
        "probe_size": 32 if dims == 2 else 16,
        "separate_statistics": separate,
    }
    return ClusterNetwork(basic, features, spatial_dims=dims, **settings)


class Assigned(nn.Module):
    """A network with heads on the views of labelled and unlabelled images."""

    def __init__(self, network: ClusterNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        view = RandFlips()(1, tuple(images.shape[2:]), 2)
        return self.network(torch.cat((images, view(images[1:]))), parts=(1, 1, 1), view=view)


class Tapped(nn.Module):
    """The features of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = tiny(2)

    def forward(self, images: Tensor) -> Any:
        with FeatureTap(self.network, ["0", "2"]) as tap:
            return {"out": self.network(images), **tap.features}


class Refined(nn.Module):
    """Maps that are refined by what the image looks like."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.refine = PixelCorrelation(1, 1, 4, 2, dims)

    def forward(self, images: Tensor) -> Tensor:
        return self.refine(images, images.square(), images - 0.4)


for dims, side in ((2, (16, 16)), (3, (8, 8, 8))):
    shape = (2, 1, *side)
    large = (2, 1, *(32,) * 2) if dims == 2 else (2, 1, *(16,) * 3)
    network_case(f"cam-unet-{dims}d", lambda n=dims: CAMUNet(n, 1, (4, 6, 8)), 2, 1, *(s - 3 for s in side))
    for shown in ("cam", "gradcam", "gradcam++", "refined"):
        network_case(
            f"cam-net-{shown}-{dims}d",
            lambda n=dims, s=shown: CAMNet(
                CAMUNet(n, 1, (4, 6)),
                shown=s,
                refine=PixelCorrelation(4, 1, 4, 4, n) if s == "refined" else None,
                spatial_dims=n,
            ),
            *shape,
        )
    network_case(
        f"cam-net-rank-{dims}d", lambda n=dims: CAMNet(CAMUNet(n, 1, (4, 6)), spatial_dims=n, share=0.1), *shape
    )
    network_case(
        f"multi-modal-cam-{dims}d",
        lambda n=dims: MultiModalCAM(2, n, (4, 6), standardize=True, refine={"width": 4}, shown="refined"),
        2,
        2,
        *side,
    )
    network_case(f"pixel-correlation-{dims}d", lambda n=dims: Refined(n), *shape, wants=())
    for pooled in (False, True):
        network_case(
            f"cluster-head{'-pooled' * pooled}-{dims}d",
            lambda n=dims, p=pooled: ClusterHead(1, n, 3, 2, "mlp", p, normalize=True, temperature=0.5),
            *shape,
        )
    for separate in (False, True) if dims == 2 else (False,):
        network_case(
            f"cluster-network{'-separate' * separate}-{dims}d",
            lambda n=dims, s=separate: Assigned(cluster_network(n, s)),
            *large,
            rtol=5e-3,
        )
    network_case(
        f"large-fov-{dims}d",
        lambda n=dims: LargeFOV(n, 1, 3, width=2, hidden=8, dilation=2, dropout=0.0, norm="batch"),
        2,
        1,
        *(17,) * dims,
    )
    network_case(f"mi-unet-{dims}d", lambda n=dims: MIUNet(n, 1, 3, (2, 3, 4, 5, 6)), *large, rtol=5e-3)
    network_case(f"residual-unet-{dims}d", lambda n=dims: ResidualUNet(n, 1, 3, 2), 2, 1, *(16,) * dims, rtol=2e-2)
    network_case(f"enet-{dims}d", lambda n=dims: ENet(n, 1, 3, 4), 2, 1, *(16,) * dims, rtol=2e-2)
    network_case(f"shallow-cnn-{dims}d", lambda n=dims: ShallowCNN(n, 1, 3, 4), *shape)
    network_case(f"tag-classifier-{dims}d", lambda n=dims: TagClassifier(n, 1, 3, (2, 4, 6), 4), *shape)
    network_case(f"monai-unet-{dims}d", lambda n=dims: UNet(n, 1, 3, (4, 8), (2,), num_res_units=1), *shape)
    network_case(
        f"monai-basic-unet-{dims}d",
        lambda n=dims: BasicUNet(n, 1, 3, features=(2, 3, 4, 5, 6, 2), norm="batch"),
        *large,
    )
    network_case(
        f"dual-decoder-network-{dims}d",
        lambda n=dims: DualDecoder(BasicUNet(n, 1, 3, features=(2, 3, 4, 5, 6, 2), norm="batch"), dropout=0.0),
        *large,
    )
network_case("feature-tap-2d", Tapped, 2, 1, 16, 16)
