# SPDX-License-Identifier: Apache-2.0
"""Class activation maps of any encoder-decoder network."""

from __future__ import annotations

import math

import torch
from monai.networks.layers import Conv, Dropout
from torch import Tensor, nn
from torch.nn import functional as F

from wss_monai.functional.cams.channels import CLASSES
from wss_monai.functional.cams.grad_cam import grad_cam, grad_cam_pp
from wss_monai.functional.rank_pooling import decay_of_share
from wss_monai.functional.wide import wide
from wss_monai.networks.pixel_correlation import PixelCorrelation
from wss_monai.networks.sizes import check_sizes, linear_mode

__all__ = ["SHOWN", "CAMNet", "channels_of"]

SHOWN = ("cam", "gradcam", "gradcam++", "refined")
"""Maps of the foreground to choose from."""


class CAMNet(nn.Module):
    """An encoder-decoder and a convolution of one tap without bias: raw, signed maps of background and foreground.

    The mean of each map is the logit of its class. The output has these two maps and, unless ``shown`` is "cam", a
    third one of the foreground to be shown in their place. All are float32 or wider, raw, and lie on the image's grid,
    to which maps of a coarser backbone are carried linearly.

    With a mean over the frame a small organ can only be told by a map that covers much more than the organ. ``share``
    below 0.5 pools by rank instead (Kolesnikov and Lampert, ECCV 2016): the logits are 0 and the pooled difference of
    the two maps, that difference is shown, and the first two maps of the output are the logits, the same everywhere, so
    that their means still are the logits.

    Args:
        backbone: gives features (B, F, *grid) of images (B, C, *spatial), on the image's grid or a coarser one.
        features: F; None: the backbone's attribute ``features``.
        dropout: probability that a channel of the features is dropped in training.
        shown: "cam": no third map; "gradcam" and "gradcam++": in closed form, no gradient flows through them;
            "refined": by ``refine``.
        refine: the module that refines maps; needed where ``shown`` is "refined", idle otherwise.
        spatial_dims: 2 or 3.
        share: of the voxels of the frame, the highest ones, that hold half of the weight of the logit; 0.5: the mean,
            as published. About the share of the organ in slices that show it.

    Raises:
        ValueError: an argument out of its range, or one that is missing; names it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int | None = None,
        dropout: float = 0.0,
        shown: str = "cam",
        refine: PixelCorrelation | None = None,
        spatial_dims: int = 2,
        share: float = 0.5,
    ) -> None:
        super().__init__()
        features = channels_of(backbone, features)
        check_sizes(spatial_dims, features=features)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        if shown not in SHOWN:
            raise ValueError(f"shown must be one of {SHOWN}, got {shown!r}")
        if shown == "refined" and refine is None:
            raise ValueError("shown 'refined' needs refine, a PixelCorrelation module; got None")
        self.slope = math.log(decay_of_share(share, 1))  # of the logarithm of a rank's weight, over the whole frame
        if share < 0.5 and shown in ("gradcam", "gradcam++"):
            raise ValueError(f"shown {shown!r} is for the mean over the frame: set share to 0.5, got {share}")
        self.dimensions = spatial_dims
        self.share = float(share)
        self.features = features
        self.shown = shown
        self.interpolation = linear_mode(spatial_dims)
        self.backbone = backbone
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout) if dropout else nn.Identity()
        self.head = Conv[Conv.CONV, spatial_dims](features, CLASSES, 1, bias=False)
        nn.init.xavier_normal_(self.head.weight)
        self.refine = refine

    def forward(self, x: Tensor) -> Tensor:
        """Give maps (B, 2 or 3, *spatial) of images (B, C, *spatial).

        Raises:
            ValueError: the backbone does not give one tensor of ``features`` channels.
        """
        features = self.backbone(x)
        if not isinstance(features, Tensor):
            raise ValueError("CAMNet: the backbone must give one tensor of features, without deep supervision")
        if features.dim() != x.dim() or features.shape[1] != self.features:
            raise ValueError(
                f"CAMNet: the backbone gives features of shape {list(features.shape)} for images of {list(x.shape)}, "
                f"which are not (B, {self.features}, *spatial): set features to the channels it gives"
            )
        features = self.dropout(features)
        raw = wide(self.head(features))
        maps = self._on_grid(raw, x)
        if self.share < 0.5:
            maps = self._by_rank(maps)
        if self.shown == "cam":
            return maps
        if self.shown == "refined":
            if self.refine is None:
                raise ValueError("shown 'refined' needs refine, a PixelCorrelation module; got None")
            third = self.refine(x, features, maps[:, -1:])
        else:
            seen, weight = wide(features.detach()), wide(self.head.weight.detach().flatten(1)[1:])
            third = grad_cam(seen, weight) if self.shown == "gradcam" else grad_cam_pp(seen, weight)
            third = self._on_grid(third, x)
        return torch.cat([maps[:, :2], third], 1)  # 2: CLASSES

    def _by_rank(self, maps: Tensor) -> Tensor:
        """The logits 0 and rank-pooled difference as maps, and the difference itself."""
        evidence = maps[:, 1:] - maps[:, :1]
        ordered = evidence.flatten(1).sort(dim=1, descending=True)[0]  # rank_pooling, in what TorchScript knows
        rank = torch.arange(ordered.shape[1], device=ordered.device, dtype=ordered.dtype)
        weight = (rank * (self.slope / ordered.shape[1])).exp()
        logit = torch.zeros_like(evidence) + ((ordered * weight).sum(1) / weight.sum()).view(
            [-1, 1] + [1] * self.dimensions
        )
        return torch.cat([torch.zeros_like(logit), logit, evidence], 1)

    def _on_grid(self, maps: Tensor, x: Tensor) -> Tensor:
        if maps.shape[2:] == x.shape[2:]:
            return maps
        return F.interpolate(maps, size=x.shape[2:], mode=self.interpolation, align_corners=False)


def channels_of(backbone: nn.Module, features: int | None = None) -> int:
    """Say how many channels a backbone gives: ``features``, or, where that is None, its attribute of that name.

    Raises:
        ValueError: there is no such attribute.
    """
    found = getattr(backbone, "features", None) if features is None else features
    if not isinstance(found, int):
        raise ValueError(
            f"features must say how many channels the backbone gives, for {type(backbone).__name__} has no attribute "
            "of that name: set features to its out_channels"
        )
    return found
