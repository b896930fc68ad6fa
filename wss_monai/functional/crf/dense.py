# SPDX-License-Identifier: Apache-2.0
"""The dense CRF: input checks, choice of the filter, one call."""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional.crf.exact import ExactFilter, SpatialFilter
from wss_monai.functional.crf.external import pydensecrf_mean_field
from wss_monai.functional.crf.features import Width, bilateral_features, spatial_features, voxel_sizes, widths
from wss_monai.functional.crf.lattice import LatticeFilter
from wss_monai.functional.crf.mean_field import Filter, mean_field

METHODS = ("auto", "exact", "lattice", "pydensecrf")
EXACT_UP_TO = 4096
"""Voxels of a sample up to which ``auto`` takes the exact filter."""


@torch.no_grad()
def dense_crf(
    logits: Tensor,
    image: Tensor,
    *,
    iterations: int = 10,
    w_bilateral: float = 10.0,
    w_spatial: float = 3.0,
    theta_alpha: Width = 80 / 12,
    theta_beta: Width = 13.0,
    theta_gamma: Width = 3 / 12,
    spacing: object = None,
    method: str = "auto",
) -> Tensor:
    """Class probabilities after mean-field inference of a fully connected CRF.

    Ten synchronous updates Q <- softmax(z + w_b K_b Q + w_s K_s Q) from softmax(z), with a bilateral kernel
    exp(-|dx|^2 / (2 alpha^2) - |dI|^2 / (2 beta^2)) and a spatial kernel exp(-|dx|^2 / (2 gamma^2)), both with
    symmetric normalisation and with their diagonal. The defaults are those of Seed, Expand and Constrain on a grid of
    41 x 41.

    Args:
        logits: z, (B, K, *spatial), 1 to 3 spatial axes.
        image: (B, C, *spatial), any number of channels, on a scale of 0 to 255.
        iterations: number of updates.
        w_bilateral, w_spatial: weights of the two kernels.
        theta_alpha, theta_gamma: widths in space of the bilateral and the spatial kernel, one number or one an axis;
            in voxels, or in mm where ``spacing`` is given.
        theta_beta: width in the image's values, one number or one a channel.
        spacing: None, or mm a voxel, (D,) or (B, D).
        method: ``exact`` (all pairs of voxels), ``lattice`` (permutohedral lattice, memory linear in the voxels),
            ``pydensecrf`` (that package, where installed; on the CPU), or ``auto``: exact up to 4096 voxels a sample,
            else the lattice.

    Returns:
        Q, (B, K, *spatial), float32 (float64 for float64 logits), without gradient.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, widths that are not positive, unknown method.
        ImportError: ``method="pydensecrf"`` without the package.

    Source: Kraehenbuehl and Koltun, NeurIPS 2011; Kolesnikov and Lampert, ECCV 2016.
    """
    shape = _check(logits, image, iterations, w_bilateral, w_spatial, method)
    batch, _, dimensions = logits.shape[0], logits.shape[1], len(shape)
    voxels = shape.numel()
    size = voxel_sizes(spacing, batch, dimensions)
    alpha = torch.tensor(widths("theta_alpha", theta_alpha, dimensions, "axis"), dtype=torch.float64)
    gamma = torch.tensor(widths("theta_gamma", theta_gamma, dimensions, "axis"), dtype=torch.float64)
    beta = widths("theta_beta", theta_beta, image.shape[1], "image channel")
    alpha, gamma = (alpha / size).to(logits.device), gamma / size
    if method == "auto":
        method = "exact" if voxels <= EXACT_UP_TO else "lattice"
    kind = torch.float64 if logits.dtype == torch.float64 and method == "exact" else torch.float32
    out = torch.empty(logits.shape, dtype=kind, device=logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        for start in range(batch):  # one at a time: the memory of one, and a sample's result is the same in any batch
            part = slice(start, start + 1)
            unary = logits[part].to(kind).flatten(2).transpose(1, 2)
            guide = bilateral_features(image[part].to(kind), alpha[part], beta)
            if method == "pydensecrf":
                place = spatial_features(gamma[part], shape).to(guide)
                kernels = [(w_bilateral, guide[0]), (w_spatial, place[0])]
                probs = pydensecrf_mean_field(unary[0], kernels, iterations)[None]
            else:
                filters: list[tuple[float, Filter]] = []
                if w_bilateral:
                    bilateral = LatticeFilter(guide[0]) if method == "lattice" else ExactFilter(guide)
                    filters.append((w_bilateral, bilateral))
                if w_spatial:
                    filters.append((w_spatial, SpatialFilter(gamma[start], shape, unary)))
                probs = mean_field(unary, filters, iterations)
            out[part] = probs.transpose(1, 2).reshape(logits[part].shape)
    return out.to(torch.float64) if logits.dtype == torch.float64 else out


def _check(
    logits: Tensor, image: Tensor, iterations: int, w_bilateral: float, w_spatial: float, method: str
) -> torch.Size:
    """The spatial shape of input that fits."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if not 3 <= logits.dim() <= 5:
        raise ValueError(f"logits must be (B, K, *spatial) with 1 to 3 spatial axes, got shape {tuple(logits.shape)}.")
    if image.dim() != logits.dim() or image.shape[0] != logits.shape[0] or image.shape[2:] != logits.shape[2:]:
        raise ValueError(
            f"image must be (B, C, *spatial) on the grid of the logits {tuple(logits.shape)}, got shape "
            f"{tuple(image.shape)}; resample the image to the grid of the logits first."
        )
    if image.shape[1] == 0 or logits.shape[1] == 0 or 0 in logits.shape[2:]:
        raise ValueError(f"logits {tuple(logits.shape)} and image {tuple(image.shape)} must not have an axis of 0.")
    if image.device != logits.device:
        raise ValueError(f"image lies on {image.device}, the logits on {logits.device}; move one to the other.")
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 0:
        raise ValueError(f"iterations must be a whole number from 0 on, got {iterations!r}.")
    for name, weight in (("w_bilateral", w_bilateral), ("w_spatial", w_spatial)):
        if not 0 <= weight < float("inf"):
            raise ValueError(f"{name} must be a finite number from 0 on, got {weight!r}.")
    for name, values in (("logits", logits), ("image", image)):
        if not bool(torch.isfinite(values).all()):
            kind = "NaN" if bool(torch.isnan(values).any()) else "inf"
            raise ValueError(f"{name} holds {kind}; the CRF needs finite values.")
    return logits.shape[2:]
