# SPDX-License-Identifier: Apache-2.0
"""Networks that MONAI lacks."""

from __future__ import annotations

from wss_monai.networks.cam import CAMNet
from wss_monai.networks.cam_unet import CAMUNet
from wss_monai.networks.cluster_heads import ClusterHead
from wss_monai.networks.cluster_network import ClusterNetwork
from wss_monai.networks.dense_crf import DenseCRF
from wss_monai.networks.dual_decoder import DecoderMixture, DualDecoder
from wss_monai.networks.enet import ENet
from wss_monai.networks.feature_tap import FeatureTap
from wss_monai.networks.large_fov import LargeFOV
from wss_monai.networks.mi_unet import MIUNet
from wss_monai.networks.multi_modal_cam import MultiModalCAM
from wss_monai.networks.pixel_correlation import PixelCorrelation
from wss_monai.networks.residual_unet import ResidualUNet
from wss_monai.networks.shallow_cnn import ShallowCNN
from wss_monai.networks.tag_classifier import TagClassifier

__all__ = [
    "CAMNet",
    "CAMUNet",
    "ClusterHead",
    "ClusterNetwork",
    "DecoderMixture",
    "DenseCRF",
    "DualDecoder",
    "ENet",
    "FeatureTap",
    "LargeFOV",
    "MIUNet",
    "MultiModalCAM",
    "PixelCorrelation",
    "ResidualUNet",
    "ShallowCNN",
    "TagClassifier",
]
