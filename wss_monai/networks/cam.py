# SPDX-License-Identifier: Apache-2.0
"""Class activation maps of any encoder-decoder network."""

from __future__ import annotations

import torch
from monai.networks.layers import Conv, Dropout
from torch import Tensor, nn
from torch.nn import functional as F

from wss_monai.functional.cams import CLASSES
from wss_monai.functional.grad_cam import grad_cam, grad_cam_pp
from wss_monai.networks.pixel_correlation import PixelCorrelation
from wss_monai.networks.shallow_cnn import check_sizes

__all__ = ["SHOWN", "CAMNet", "channels_of"]

SHOWN = ("cam", "gradcam", "gradcam++", "refined")
"""Maps of the foreground to choose from."""


class CAMNet(nn.Module):
    """An encoder-decoder and a convolution of one tap without bias: raw, signed maps of background and foreground.

    The mean of each map is the logit of its class. The output has these two maps and, unless ``shown`` is "cam", a
    third one of the foreground to be shown in their place. All are float32 or wider, raw, and lie on the image's grid,
    to which maps of a coarser backbone are carried linearly.

    Args:
        backbone: gives features (B, F, *grid) of images (B, C, *spatial), on the image's grid or a coarser one.
        features: F; None: the backbone's attribute ``features``.
        dropout: probability that a channel of the features is dropped in training.
        shown: "cam": no third map; "gradcam" and "gradcam++": in closed form, no gradient flows through them;
            "refined": by ``refine``.
        refine: the module that refines maps; needed where ``shown`` is "refined", idle otherwise.
        spatial_dims: 2 or 3.

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
        self.dimensions = spatial_dims
        self.features = features
        self.shown = shown
        self.interpolation = ("linear", "bilinear", "trilinear")[spatial_dims - 1]
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
        raw = self._wide(self.head(features))
        maps = self._on_grid(raw, x)
        if self.shown == "cam":
            return maps
        if self.shown == "refined":
            if self.refine is None:
                raise ValueError("shown 'refined' needs refine, a PixelCorrelation module; got None")
            third = self.refine(x, features, maps[:, 1:])
        else:
            seen, weight = self._wide(features.detach()), self._wide(self.head.weight.detach().flatten(1)[1:])
            third = grad_cam(seen, weight) if self.shown == "gradcam" else grad_cam_pp(seen, weight)
            third = self._on_grid(third, x)
        return torch.cat([maps, third], 1)

    def _on_grid(self, maps: Tensor, x: Tensor) -> Tensor:
        if maps.shape[2:] == x.shape[2:]:
            return maps
        return F.interpolate(maps, size=x.shape[2:], mode=self.interpolation, align_corners=False)

    def _wide(self, values: Tensor) -> Tensor:
        return values if values.dtype == torch.float64 else values.float()


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
