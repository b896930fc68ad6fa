# SPDX-License-Identifier: Apache-2.0
"""Regularisers of a prediction that need no label: the length of its contours, and how uniform its regions are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wss_monai.functional.cue_maps import image_on_grid
from wss_monai.functional.settings import ShownSettings
from wss_monai.functional.wide import wide
from wss_monai.losses.term import probabilities

__all__ = ["MumfordShahLoss", "TotalVariationLoss"]

KINDS = ("differences", "contour")


class TotalVariationLoss(ShownSettings, nn.Module):
    """Total variation of the softmax, a mean over samples, classes and voxels: short contours are preferred.

    "differences" is the anisotropic one, the sum over the axes of the absolute difference of neighbours. "contour" is
    the form that scribble papers use: the softmax's erosion in a window of 3 voxels an axis, subtracted from the
    dilation of that erosion; it counts voxels at the inner side of a contour and leaves thin structures alone.

    Sources: Rudin, Osher and Fatemi, Physica D 60, 1992, in its anisotropic form; "contour": Luo et al., MICCAI 2022
    (the TV baseline of their benchmark). ``Length`` of ``wss_monai.functional.descriptors`` is the length in mm.

    Args:
        kind: "differences" or "contour".

    Raises:
        ValueError: an unknown kind.
    """

    shown = ("kind",)
    uses_probs = True

    def __init__(self, kind: str = "differences") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {list(KINDS)}, got {kind!r}.")
        self.kind = kind
        self.target_keys: dict[str, str] = {}

    def forward(self, logits: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial) in 2D or 3D; ``probs``: their softmax, where it is at hand.

        Raises:
            ValueError: logits of other than 2 or 3 spatial axes.
        """
        p = probabilities(_checked(logits), probs)
        if self.kind == "differences":
            return _variation(p).mean()
        pool = F.max_pool2d if p.dim() == 4 else F.max_pool3d
        eroded = -pool(-p, 3, 1, 1)
        return torch.relu(pool(eroded, 3, 1, 1) - eroded).mean()


class MumfordShahLoss(ShownSettings, nn.Module):
    """The piecewise-constant Mumford-Shah functional of the softmax p and the image I.

    A mean over samples and voxels of the sum over classes k and channels c of p_k (I_c - m_kc)^2, where m_kc is the
    mean of the channel weighted by p_k (a constant of each sample and class; the gradient reaches it), plus
    ``smoothness`` x the sum over classes and axes of the absolute differences of neighbours of p_k.

    Source: Kim and Ye, IEEE TIP 29, 2020, eqs. 10 and 11. The code of WSL4MIS, to which the published weight 1e-6 of
    scribble papers belongs, sums over voxels and samples in the place of the mean, so that 1e-6 there (12 samples of
    256 x 256) is 0.79 here; it also calls the functional with image and softmax exchanged, which this one does not.

    Args:
        smoothness: weight of the contours relative to the regions.
        image_key: key of the image in a ``WeightedSumLoss``.

    Raises:
        ValueError: a negative smoothness.
    """

    shown = ("smoothness",)
    uses_probs = True

    def __init__(self, smoothness: float = 1.0, image_key: str = "image") -> None:
        super().__init__()
        if not smoothness >= 0:
            raise ValueError(f"smoothness must be at least 0, got {smoothness}.")
        self.smoothness = smoothness
        self.target_keys = {"image": image_key}

    def forward(self, logits: Tensor, image: Tensor, *, probs: Tensor | None = None) -> Tensor:
        """Scalar loss of ``logits`` (B, K, *spatial) for an image (B, C, *spatial) on their grid or a finer one.

        Raises:
            ValueError: logits of other than 2 or 3 spatial axes, or an image of another batch.
        """
        p = probabilities(_checked(logits), probs)
        if len(image) != len(logits):
            raise ValueError(f"image must hold {len(logits)} samples as the logits, got {tuple(image.shape)}.")
        seen = image_on_grid(wide(image).to(p), logits.shape[2:]).flatten(2)  # (B, C, N)
        flat = p.flatten(2)
        share = flat / flat.sum(-1, keepdim=True).clamp(min=1e-6)
        mean = torch.einsum("bkn,bcn->bkc", share, seen)
        regions = torch.stack([
            (flat * (seen[:, c, None] - mean[:, :, c, None]) ** 2).sum((1, 2)) for c in range(seen.shape[1])
        ]).sum(0) / flat.shape[-1]  # fmt: skip
        return (regions + self.smoothness * _variation(p).mean(1) * p.shape[1]).mean()


def _variation(p: Tensor) -> Tensor:
    """Sum over the axes of the mean absolute difference of neighbours, (B, K), for each voxel of the grid."""
    voxels = p[0, 0].numel()
    parts = [torch.diff(p, dim=axis).abs().flatten(2).sum(-1) for axis in range(2, p.dim())]
    return torch.stack(parts).sum(0) / voxels


def _checked(logits: Tensor) -> Tensor:
    if logits.dim() not in (4, 5):
        raise ValueError(f"logits must be (B, K, *spatial) in 2D or 3D, got {tuple(logits.shape)}.")
    return logits
