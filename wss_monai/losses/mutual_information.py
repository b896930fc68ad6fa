# SPDX-License-Identifier: Apache-2.0
"""Mutual information between the cluster assignments of two views: unsupervised terms on probabilities.

Both losses are minus the mutual information in nats, a mean over independent heads, and have gradients into both views.
Source: Ji, Henriques, Vedaldi, ICCV 2019, eq. 3 and 5; Peng, Pedersoli, Desrosiers, MELBA 2021:009 (global and local).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from wss_monai.functional.local_joint import BACKENDS, local_joint
from wss_monai.functional.settings import ShownSettings, as_list, check_flags, is_number, is_whole, per_axis


class IICLoss(ShownSettings, nn.Module):
    """Minus the mutual information of the clusters of whole images under two views.

    The joint of a head is the mean over the samples of p_n q_n^T, made symmetric. With N samples the mutual information
    is at most log(min(K, N)): a small batch caps it.

    Args:
        lam: weight of the two marginal entropies; 1 is the mutual information, more asks for more even clusters.
        eps: added within the logarithms.
        num_heads: S, independent heads side by side in the channels.

    Raises:
        ValueError: a setting that makes no sense.
    """

    shown = ("lam", "eps", "num_heads")

    def __init__(self, lam: float = 1.0, eps: float = 1e-10, num_heads: int = 1) -> None:
        super().__init__()
        _check_settings(lam, eps, num_heads)
        self.lam = float(lam)
        self.eps = float(eps)
        self.num_heads = num_heads

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Scalar loss, in nats, of probabilities ``p`` and ``q`` (N, S*K), channels head by head.

        Raises:
            ValueError: shapes that do not fit, or a single sample.
        """
        if p.shape != q.shape or p.dim() != 2:
            raise ValueError(
                f"p and q must be probabilities of one shape (N, S*K), got {tuple(p.shape)} and {tuple(q.shape)}; "
                f"LocalIICLoss takes maps."
            )
        clusters = _clusters(p, self.num_heads)
        if len(p) < 2:
            raise ValueError(
                f"p holds {len(p)} sample(s), and the mutual information of N samples is at most log(min(K, N)): with "
                f"one the joint has rank one and there is nothing to learn. Give at least two unlabelled images."
            )
        with torch.autocast(p.device.type, enabled=False):
            wide = torch.promote_types(torch.promote_types(p.dtype, q.dtype), torch.float32)
            a, b = (t.to(wide).reshape(len(p), self.num_heads, clusters) for t in (p, q))
            joint = torch.einsum("nsi,nsj->sij", a, b)
            return _minus_information(joint, self.lam, self.eps).to(joint.dtype)


class LocalIICLoss(ShownSettings, nn.Module):
    """Minus the mutual information of the clusters of voxels and of their neighbours, under two aligned views.

    For each displacement d within the window, the joint of the clusters of p at x and of q at x + d is summed over
    samples and voxels, normalised and made symmetric by itself; the mutual informations are averaged over the window.

    The published code subtracts the smallest cell of all joints of a head, as a constant, before it normalises. This is
    not the mutual information: where the assignments are still nearly flat it makes the gradient up to 200 times larger
    and turns it elsewhere; once a cell is near zero it changes nothing. ``subtract_min=False`` gives the information.

    Args:
        padding: half of the window in voxels, one number or one an axis: 1 is 3 x 3 voxels, 3 is 7 x 7.
        patch_size: side of the patches in voxels, one number or one an axis; each half overlaps the next, has its own
            joint and minimum, and counts alike. None: the whole map is one patch.
        lam: weight of the two marginal entropies; 1 is the mutual information.
        subtract_min: the published form (True), or the mutual information (False).
        eps: added to the joint and within the logarithms.
        num_heads: S, independent heads side by side in the channels.
        backend: of ``local_joint``; the same up to rounding.

    Raises:
        ValueError: a setting that makes no sense.
    """

    shown = ("padding", "patch_size", "lam", "subtract_min", "eps", "num_heads")

    def __init__(
        self,
        padding: int | Sequence[int] = 1,
        patch_size: int | Sequence[int] | None = None,
        lam: float = 1.0,
        subtract_min: bool = True,
        eps: float = 1e-16,
        num_heads: int = 1,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        _check_settings(lam, eps, num_heads)
        for name, value, least in (("padding", padding, 0), ("patch_size", patch_size, 1)):
            if value is not None and not all(is_whole(n) and n >= least for n in as_list(value)):
                raise ValueError(f"{name} must be a whole number >= {least}, or one an axis, got {value!r}.")
        check_flags(subtract_min=subtract_min)
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}.")
        self.padding = padding
        self.patch_size = patch_size
        self.lam = float(lam)
        self.subtract_min = subtract_min
        self.eps = float(eps)
        self.num_heads = num_heads
        self.backend = backend

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Scalar loss, in nats, of probabilities ``p`` and ``q`` (N, S*K, *spatial), channels head by head.

        Raises:
            ValueError: shapes that do not fit, a patch larger than the map, a padding as large as map or patch.
        """
        if p.shape != q.shape or p.dim() < 3:
            raise ValueError(
                f"p and q must be probability maps of one shape (N, S*K, *spatial), got {tuple(p.shape)} and "
                f"{tuple(q.shape)}; IICLoss takes (N, S*K)."
            )
        if not p.numel():
            raise ValueError(f"p holds no voxels: its shape is {tuple(p.shape)}. Give at least one unlabelled image.")
        _clusters(p, self.num_heads)
        spatial = tuple(p.shape[2:])
        padding = tuple(per_axis("padding", self.padding, len(spatial)))
        patch = spatial if self.patch_size is None else tuple(per_axis("patch_size", self.patch_size, len(spatial)))
        if any(n > side for n, side in zip(patch, spatial, strict=True)):
            raise ValueError(
                f"patch_size {patch} is larger than the map {spatial}: give a smaller one, or none for the whole map."
            )
        if any(n >= side for n, side in zip(padding, patch, strict=True)):
            raise ValueError(
                f"padding {padding} must be smaller than the {'map' if patch == spatial else 'patch'} {patch} on every "
                f"axis: at a displacement of a whole side no voxel has a partner."
            )
        with torch.autocast(p.device.type, enabled=False):
            values = [self._of_patch(p[cut], q[cut], padding) for cut in _patches(spatial, patch)]
            return torch.stack(values).mean()

    def _of_patch(self, p: Tensor, q: Tensor, padding: Sequence[int]) -> Tensor:
        counts = local_joint(p, q, padding, self.num_heads, self.backend)
        joint = _widest(counts)
        if self.subtract_min:
            joint = joint - joint.detach().amin((1, 2, 3), keepdim=True)
        return _minus_information(joint + self.eps, self.lam, self.eps).to(counts.dtype)


def _minus_information(joint: Tensor, lam: float, eps: float) -> Tensor:
    """Mean of minus the mutual information, in nats, of counts (..., K, K)."""
    joint = _widest(joint)
    total = joint.sum((-2, -1), keepdim=True)
    joint = joint / total.where(total > 0, 1.0)  # counts of nothing hold no information
    joint = (joint + joint.mT) / 2
    marginal = (joint.sum(-1) + eps).log()
    apart = lam * (marginal.unsqueeze(-1) + marginal.unsqueeze(-2))
    return -(joint * ((joint + eps).log() - apart)).sum((-2, -1)).mean()


def _patches(spatial: Sequence[int], patch: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Index of each patch; the last of an axis ends at the map's end."""
    starts = [
        [*range(0, side - n, max(n // 2, 1)), side - n] if side > n else [0]
        for side, n in zip(spatial, patch, strict=True)
    ]
    for corner in itertools.product(*starts):
        yield (slice(None), slice(None), *(slice(c, c + n) for c, n in zip(corner, patch, strict=True)))


def _clusters(p: Tensor, num_heads: int) -> int:
    channels = p.shape[1]
    if channels % num_heads or channels // num_heads < 2:
        raise ValueError(
            f"num_heads {num_heads} does not fit the {channels} channels of p: they must be num_heads times the number "
            f"of clusters, of which there must be at least 2."
        )
    return channels // num_heads


def _check_settings(lam: float, eps: float, num_heads: int) -> None:
    for name, value in (("lam", lam), ("eps", eps)):
        if not is_number(value) or value < 0:
            raise ValueError(f"{name} must be a finite number >= 0, got {value!r}.")
    if not eps:
        raise ValueError("eps must be above 0: the logarithm of an empty cell of the joint is not finite.")
    if not is_whole(num_heads) or num_heads < 1:
        raise ValueError(f"num_heads must be a whole number >= 1, got {num_heads!r}.")


def _widest(joint: Tensor) -> Tensor:
    """In float64 where the device has it: the joint is small, and nearly flat ones lose their digits in float32."""
    return joint if joint.device.type == "mps" else joint.double()
