# SPDX-License-Identifier: Apache-2.0
"""The dense CRF as a module."""

from __future__ import annotations

from torch import Tensor, nn

from wss_monai.functional.crf import METHODS, dense_crf
from wss_monai.functional.crf.features import Width
from wss_monai.functional.settings import ShownSettings


class DenseCRF(ShownSettings, nn.Module):
    """Class probabilities after mean-field inference of a fully connected CRF; no parameters, no gradient.

    Args:
        iterations, w_bilateral, w_spatial, theta_alpha, theta_beta, theta_gamma, method: as in
            ``wss_monai.functional.crf.dense_crf``. Widths in space are in voxels, or in mm where the call is given a
            spacing.

    Raises:
        ValueError: an unknown method.
    """

    shown = ("iterations", "w_bilateral", "w_spatial", "theta_alpha", "theta_beta", "theta_gamma", "method")

    def __init__(
        self,
        iterations: int = 10,
        w_bilateral: float = 10.0,
        w_spatial: float = 3.0,
        theta_alpha: Width = 80 / 12,
        theta_beta: Width = 13.0,
        theta_gamma: Width = 3 / 12,
        method: str = "auto",
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        self.iterations = iterations
        self.w_bilateral = w_bilateral
        self.w_spatial = w_spatial
        self.theta_alpha = theta_alpha
        self.theta_beta = theta_beta
        self.theta_gamma = theta_gamma
        self.method = method

    def forward(self, logits: Tensor, image: Tensor, spacing: object = None) -> Tensor:
        """Q (B, K, *spatial) of ``logits`` (B, K, *spatial) and ``image`` (B, C, *spatial) in 0 to 255.

        Args:
            logits: unary terms, before the softmax.
            image: values on a scale of 0 to 255.
            spacing: None (widths in voxels), or mm a voxel, (D,) or (B, D) (widths in mm).

        Raises:
            ValueError: as ``dense_crf``.
        """
        settings = {name: getattr(self, name) for name in self.shown}
        return dense_crf(logits, image, spacing=spacing, **settings)
