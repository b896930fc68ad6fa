# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM and Grad-CAM++ of a linear layer that stands on the mean of the features, in closed form.

The logit of class c is the mean over the N places of the sum of w_ck A_k. Its derivative with respect to feature k is
therefore g_ck = w_ck / N at every place, and no backward pass is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.functional.cams.cues import activation_maps


def grad_cam(features: Tensor, weight: Tensor) -> Tensor:
    """Grad-CAM: relu(sum over k of g_k A_k), which is the rectified activation map divided by the places.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.

    Args:
        features: A, (B, F, *grid).
        weight: of the linear layer, (C, F).

    Returns:
        (B, C, *grid), at least 0.
    """
    return torch.relu(activation_maps(features, weight / _places(features)))


def grad_cam_pp(features: Tensor, weight: Tensor) -> Tensor:
    """Grad-CAM++: relu(sum over k of v_k A_k), where v_k is the sum over the places of alpha_k relu(g_k).

    alpha_k = g_k^2 / (2 g_k^2 + S_k g_k^3) = 1 / (2 + S_k g_k) with S_k the sum of A_k over the places; 0 where its
    denominator is 0. The published factor exp(logit) is left out: it scales the whole map. The second form of alpha
    has no powers of g, which is small on large images, and needs no guard against them.

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018.

    Args:
        features: A, (B, F, *grid).
        weight: of the linear layer, (C, F).

    Returns:
        (B, C, *grid), at least 0.
    """
    places = _places(features)
    gradient = weight / places
    below = 2 + features.flatten(2).sum(2).unsqueeze(1) * gradient
    alpha = torch.where(below != 0, 1 / below, torch.zeros_like(below))
    return torch.relu(torch.einsum("bf...,bcf->bc...", features, places * alpha * torch.relu(gradient)))


def _places(features: Tensor) -> int:
    return features[0, 0].numel()
