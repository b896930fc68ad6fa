# SPDX-License-Identifier: Apache-2.0
"""Post-processing by a fully connected CRF: a prediction that follows the edges of its image."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.transforms.utils_pytorch_numpy_unification import percentile
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from torch import Tensor

from wss_monai.functional.crf import METHODS, dense_crf
from wss_monai.functional.crf.features import Width
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.io.grids import spacing_of

__all__ = ["RefineByDenseCRF", "DenseCRFd"]

LOWER, UPPER = 0.5, 99.5
"""Percentiles of each channel of the image that become 0 and 255."""
CHUNK = 2**22
"""Values of the prediction that the CRF of slices gets at a time."""
logger = logging.getLogger(__name__)


class RefineByDenseCRF(Transform):
    """Log-probabilities after mean-field inference of a fully connected CRF on a prediction and its image.

    Each channel of the image is brought to 0..255, its 0.5 and 99.5 percentiles becoming the ends; a constant channel
    becomes 0. The unary term is the logarithm of the class probabilities, at least ``floor`` each, as in the published
    test procedure.

    Args:
        slice_axis: spatial axis across the slices of a volume: a 2D CRF in each of them, where slices lie far apart;
            None: one CRF over the whole image, in mm along all axes.
        iterations: mean-field updates.
        w_bilateral, w_spatial: weights of the kernel that sees the image and of that which does not.
        theta_alpha: width of the bilateral kernel in space, in mm; one number or one an axis (of a slice, with
            ``slice_axis``).
        theta_beta: width of the bilateral kernel in the image's values of 0..255; one number or one a channel.
        theta_gamma: width of the spatial kernel in mm, as ``theta_alpha``.
        floor: least probability of a class, before and after.
        softmax: the prediction holds logits or log-probabilities; False: probabilities.
        method: ``auto``, ``exact``, ``lattice`` or ``pydensecrf``, see ``wss_monai.functional.crf.dense_crf``.
        mm: widths in space are in mm; False: in voxels, as in the published code.

    Raises:
        ValueError: an unknown method, a floor outside 0..1.
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        slice_axis: int | None = None,
        *,
        iterations: int = 10,
        w_bilateral: float = 10.0,
        w_spatial: float = 3.0,
        theta_alpha: Width = 10.0,
        theta_beta: Width = 13.0,
        theta_gamma: Width = 1.0,
        floor: float = 1e-5,
        softmax: bool = True,
        method: str = "auto",
        mm: bool = True,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        if not 0 < floor < 1:
            raise ValueError(f"floor must lie between 0 and 1, got {floor}.")
        self.slice_axis = slice_axis
        self.floor = floor
        self.softmax = softmax
        self.mm = mm
        self.settings: dict[str, Any] = {
            "iterations": iterations,
            "w_bilateral": w_bilateral,
            "w_spatial": w_spatial,
            "theta_alpha": theta_alpha,
            "theta_beta": theta_beta,
            "theta_gamma": theta_gamma,
            "method": method,
        }
        self._warned = False

    def __call__(self, prediction: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        """Refine one case.

        Args:
            prediction: (K, *spatial), one channel a class, background included.
            image: (C, *spatial) on the same grid; its affine gives the voxel size, 1 mm without one.

        Returns:
            log max(Q, floor), (K, *spatial), float32, with the meta data and the applied operations of the prediction.

        Raises:
            ValueError: prediction and image on different grids, a prediction with a single channel, probabilities
                where logits are expected or the other way about, a slice axis that there is not.
        """
        given = convert_to_tensor(prediction, track_meta=isinstance(prediction, MetaTensor))
        values = plain_tensor(given).detach().float()
        self._check(given, image)
        channels = to_bytes_range(plain_tensor(image).detach().float()).to(values.device)
        spacing = self._spacing(image)
        unary = self._probabilities(values).clamp_min(self.floor).log()
        refined = self._refine(unary, channels, spacing).clamp_min(self.floor).log()
        return convert_to_dst_type(refined, given, dtype=torch.float32)[0]

    def _refine(self, unary: Tensor, image: Tensor, spacing: list[float]) -> Tensor:
        """Q (K, *spatial)."""
        axis = self.slice_axis
        if axis is None:
            return dense_crf(unary[None], image[None], spacing=spacing, **self.settings)[0]
        plane = [step for number, step in enumerate(spacing) if number != axis]
        unary, image = unary.movedim(axis + 1, 0), image.movedim(axis + 1, 0)
        step = max(1, CHUNK // unary[0].numel())
        parts = zip(unary.split(step), image.split(step), strict=True)
        done = [dense_crf(u, i, spacing=plane, **self.settings) for u, i in parts]
        return torch.cat(done).movedim(0, axis + 1)

    def _probabilities(self, values: Tensor) -> Tensor:
        total = values.sum(0)
        probable = bool(values.min() >= -1e-3) and bool((total - 1).abs().max() < 1e-2)
        if self.softmax and probable:
            raise ValueError(
                "the prediction holds probabilities, but logits are expected: set softmax=False, or leave out the "
                "softmax before."
            )
        if not self.softmax and not probable:
            raise ValueError("softmax=False needs a prediction of probabilities (>= 0, sum 1 over the classes).")
        return values.softmax(0) if self.softmax else values

    def _check(self, prediction: Tensor, image: Tensor) -> None:
        if prediction.dim() not in (2, 3, 4) or image.dim() != prediction.dim():
            raise ValueError(
                "prediction must be (K, *spatial) and image (C, *spatial), both channel-first and of one case, got "
                f"{tuple(prediction.shape)} and {tuple(image.shape)}."
            )
        if prediction.shape[0] < 2:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} has a single channel: the CRF needs one a class, background "
                "included; put it before AsDiscreted."
            )
        if prediction.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"prediction {tuple(prediction.shape)} and image {tuple(image.shape)} are not on one grid: put the CRF "
                "before Invertd, where both are on the network's grid."
            )
        if isinstance(prediction, MetaTensor) and isinstance(image, MetaTensor):
            own, other = prediction.affine.cpu().double(), image.affine.cpu().double()
            bare = torch.equal(own, torch.eye(len(own), dtype=own.dtype))
            if not bare and (own.shape != other.shape or not torch.allclose(own, other, atol=1e-3)):
                raise ValueError(
                    "prediction and image have different affines, so they are not on one grid: put the CRF before "
                    "Invertd, where both are on the network's grid."
                )
        if self.slice_axis is not None and not (prediction.dim() == 4 and 0 <= self.slice_axis <= 2):
            raise ValueError(
                f"slice_axis {self.slice_axis} needs a volume of three spatial axes (0, 1 or 2), got "
                f"{tuple(prediction.shape[1:])}; set it to None for one CRF over the image."
            )

    def _spacing(self, image: Tensor) -> list[float]:
        if not self.mm:
            return [1.0] * (image.dim() - 1)
        if not isinstance(image, MetaTensor) and not self._warned:
            logger.warning("the image carries no affine: the CRF takes voxels of 1 mm.")
            self._warned = True
        return spacing_of(image)


def to_bytes_range(image: Tensor) -> Tensor:
    """Each channel of an image (C, *spatial) on 0..255 by its percentiles `LOWER` and `UPPER`, clipped.

    Where both percentiles are one value (a few bright voxels on a flat background), the extremes take their place; a
    constant channel becomes 0.
    """
    out = torch.zeros_like(image)
    for channel, scaled in zip(image, out, strict=True):
        low, high = float(percentile(channel, LOWER)), float(percentile(channel, UPPER))
        if not low < high:
            low, high = float(channel.min()), float(channel.max())
        if low < high:
            scaled.copy_(((channel - low) * (255 / (high - low))).clamp_(0, 255))
    return out


class DenseCRFd(MapTransform):
    """Refine predictions by a fully connected CRF, see ``RefineByDenseCRF``.

    For the post-processing of a bundle: behind the network and before ``Invertd``, so that prediction and image are on
    one grid. What it writes are log-probabilities; ``Invertd`` and ``AsDiscreted(argmax=True)`` follow as they would
    without it.

    Args:
        keys: the predictions, (K, *spatial).
        slice_axis: spatial axis across the slices for a CRF in each slice; None: one over the whole image.
        image_key: the image, (C, *spatial).
        allow_missing_keys: leave a case without the prediction as it is.
        crf: further arguments of ``RefineByDenseCRF``.

    Raises:
        ValueError: as ``RefineByDenseCRF``.
        KeyError: a case without the image.
    """

    backend = RefineByDenseCRF.backend

    def __init__(
        self,
        keys: KeysCollection = "pred",
        slice_axis: int | None = None,
        *,
        image_key: str = "image",
        allow_missing_keys: bool = False,
        **crf: Any,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.refine = RefineByDenseCRF(slice_axis, **crf)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the refined predictions into a copy of the case."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.refine(d[key], d[self.image_key])
        return d
