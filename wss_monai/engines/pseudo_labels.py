# SPDX-License-Identifier: Apache-2.0
"""Labels for the undrawn voxels: what an averaged network is sure of and the bounds do not contradict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Descriptor, completed
from wss_monai.functional.soft_masks import in_region
from wss_monai.losses import WeightedSumLoss
from wss_monai.transforms.batch_augment import BatchAugment

KEY = "pseudo_label"
TOO_SMALL = ("rivals", "sample", "own")


class PreparePseudoLabels(PrepareTargets):
    """``PrepareTargets`` that adds ``pseudo_label`` (B, 1, *spatial), 255 = none, for the terms that read it.

    The averaged network sees the very voxels that the network sees. Its most probable class is the label, unless a
    weak label is there (which has a term of its own), its probability is below ``threshold``, or one of the loss's
    constraints does not hold for what it predicts (see ``refused_by_bounds``). While the weight of all terms that read
    the key is 0 (``WeightRamp``) nothing is predicted and every voxel is 255. Nothing is drawn at random.

    Sources: the averaged network, Tarvainen and Valpola, NeurIPS 2017; the filter by bounds is ours.

    Args:
        loss: as in ``PrepareTargets``; without a term that reads "pseudo_label" nothing is added.
        network: the averaged network, in evaluation mode.
        augment, channels_last: as in ``PrepareTargets``.
        threshold: least probability of a voxel's class, from 0 to 1.
        filter_by_bounds: ask the loss's constraints at all. Those on whole volumes are not asked.
        tolerance: how far, relative to the bound, a measure may be outside.
        too_small: what is refused where the prediction of a class is smaller than its lower bound; see
            ``refused_by_bounds``.
        mirror: predict the mean over the image and its mirror image along the first axis (twice the time).
        amp: let the averaged network run in mixed precision.
        amp_dtype: in which type; the one that the network trains in.

    Attributes:
        logged: name -> scalar of the last batch: ``pseudo_share``, the fraction of voxels with a pseudo-label, and
            ``pseudo_refused``, the fraction that only the bounds refused.

    Raises:
        ValueError: numbers out of range, or an unknown ``too_small``.
    """

    def __init__(
        self,
        loss: WeightedSumLoss,
        network: nn.Module,
        augment: BatchAugment | None = None,
        channels_last: bool = False,
        threshold: float = 0.9,
        filter_by_bounds: bool = True,
        tolerance: float = 0.1,
        too_small: str = "rivals",
        mirror: bool = False,
        amp: bool = False,
        amp_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(loss, augment, channels_last)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}.")
        if not 0 <= tolerance < math.inf:
            raise ValueError(f"tolerance must be 0 or more, got {tolerance}.")
        if too_small not in TOO_SMALL:
            raise ValueError(f"too_small must be one of {list(TOO_SMALL)}, got '{too_small}'.")
        self.loss = loss
        self.network = network
        self.threshold = threshold
        self.filter_by_bounds = filter_by_bounds
        self.tolerance = tolerance
        self.too_small = too_small
        self.mirror = mirror
        self.amp = amp
        self.amp_dtype = amp_dtype
        self.terms = [term.name for term in loss.named_terms() if KEY in [key.name for key in term.keys]]
        self.logged: dict[str, Tensor] = {}

    def __call__(
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Image (B, C, *spatial) and the dictionary of targets."""
        image, targets = super().__call__(batchdata, device, non_blocking, **kwargs)
        if self.terms:
            targets[KEY] = self.labels(image, targets)
        return image, targets

    @torch.no_grad()
    def labels(self, image: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Index map (B, 1, *spatial), uint8, for the images (B, C, *spatial) of a batch with these targets."""
        if not any(self.loss.weights[term] > 0 for term in self.terms):
            self.logged = dict.fromkeys(("pseudo_share", "pseudo_refused"), torch.zeros((), device=image.device))
            return image.new_full((len(image), 1, *image.shape[2:]), UNLABELLED, dtype=torch.uint8)
        probs = self._predict(image)
        confidence, index = probs.max(1, keepdim=True)
        kept = confidence >= self.threshold
        if "weak_label" in targets:
            kept &= targets["weak_label"] == UNLABELLED
        refused = torch.zeros_like(kept)
        for term in self.loss.named_terms() if self.filter_by_bounds else ():
            bounds, group = (term.given(argument, targets) for argument in ("bounds", "group"))
            if term.descriptor is not None and bounds is not None and group is None:
                about = {argument: term.given(argument, targets) for argument in ("spacing", "region")}
                refused |= refused_by_bounds(
                    probs, bounds, term.descriptor, tolerance=self.tolerance, too_small=self.too_small, **about
                )
        self.logged = {
            "pseudo_share": (kept & ~refused).float().mean(),
            "pseudo_refused": (kept & refused).float().mean(),
        }
        return torch.where(kept & ~refused, index, UNLABELLED).to(torch.uint8)

    def _predict(self, image: Tensor) -> Tensor:
        """Probabilities (B, K, *spatial) of the averaged network, in float32."""
        with torch.autocast(image.device.type, dtype=self.amp_dtype, enabled=self.amp):
            logits = self.network(image)
            mirrored = self.network(image.flip(2)).flip(2) if self.mirror else None
        probs = torch.softmax(logits.float(), 1)
        return probs if mirrored is None else (probs + torch.softmax(mirrored.float(), 1)) / 2


def refused_by_bounds(
    probs: Tensor,
    bounds: Tensor,
    descriptor: Descriptor,
    *,
    spacing: Tensor | None = None,
    region: Tensor | None = None,
    tolerance: float = 0.1,
    too_small: str = "rivals",
) -> Tensor:
    """Voxels whose most probable class must not be believed, since the bounds do not hold for the prediction.

    Measured is the hard prediction, since its labels are what would be taught. A side is violated beyond ``tolerance``
    times the bound itself (a place's: times its scale). What is then refused:

    - A class that is too large, or in the wrong place: all voxels predicted as that class. Some of them are wrong and
      nothing says which. A class known to be absent (upper bound 0) is the extreme of it.
    - A size below its lower bound: voxels that belong to the class are predicted as others. With ``too_small``
      "rivals", n being the lower bound, the n voxels where the class is most probable are refused wherever they are
      predicted as another class: to satisfy the bound some of these have to change. Only voxels of the region count.
      The class's own voxels stay; teaching them makes the class no smaller. "sample": nothing of the sample is
      believed. "own": the class's own voxels are refused, its neighbours believed.

    Args:
        probs: (B, K, *spatial), float32.
        bounds: (B, K, M, 2) in the descriptor's unit, infinite = no bound.
        descriptor: what the bounds are about.
        spacing: (B, D) in mm, as the descriptor asks for it.
        region: (B, 1 or K, *spatial); where the descriptor measures, e.g. boxes. None: everywhere.
        tolerance: relative slack, 0 or more.
        too_small: "rivals", "sample" or "own".

    Returns:
        Boolean (B, 1, *spatial).
    """
    index = probs.max(1).indices  # on the CPU far faster than argmax
    hard = F.one_hot(index, probs.shape[1]).movedim(-1, 1)
    measure = descriptor(hard.to(probs), spacing=spacing, region=region)
    bounds = bounds.to(measure)
    kind = completed(descriptor)
    unit = descriptor.scale(bounds, tuple(probs.shape[2:])) if kind.is_place else bounds.abs()
    slack = torch.where(bounds.isfinite(), tolerance * unit, 0.0)
    over = (measure > bounds[..., 1] + slack[..., 1]).any(-1)  # (B, K)
    under = (measure < bounds[..., 0] - slack[..., 0]).any(-1)
    if not kind.counts_voxels or too_small == "own":
        over, under = over | under, torch.zeros_like(under)
    refused = over.gather(1, index.flatten(1)).view_as(index)
    for sample, k in under.nonzero().tolist():
        if too_small == "sample":
            refused[sample] = True
            continue
        rival = index[sample] != k
        able = probs[sample, k].flatten()
        if region is not None:  # what lies elsewhere makes the class no larger where it is measured
            inside = in_region(region[sample, k if region.shape[1] > 1 else 0])
            rival, able = rival & inside, able[inside.flatten()]
        needed = min(math.ceil(float(bounds[sample, k, 0, 0])), able.numel())
        if needed:
            refused[sample] |= (probs[sample, k] >= able.topk(needed).values[-1]) & rival
    return refused.unsqueeze(1)
