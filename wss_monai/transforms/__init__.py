# SPDX-License-Identifier: Apache-2.0
"""Transforms: from a case's files to tensors, weak labels, tags and bounds; and augmentation of whole batches."""

from wss_monai.transforms.batch_augment import BatchAugment
from wss_monai.transforms.bounds.anatomy import AnatomyValues
from wss_monai.transforms.bounds.box import (
    BoxBounds,
    BoxBoundsd,
    BoxTightnessBounds,
    BoxTightnessBoundsd,
    EmptinessBounds,
    EmptinessBoundsd,
)
from wss_monai.transforms.bounds.constant import (
    ConstantBounds,
    ConstantBoundsd,
    LabelBounds,
    LabelBoundsd,
)
from wss_monai.transforms.bounds.equal_volume import EqualVolumed
from wss_monai.transforms.bounds.estimated import EstimatedBounds, EstimatedBoundsd, WeakCuesd
from wss_monai.transforms.bounds.predicted import PredictedBounds, PredictedBoundsd
from wss_monai.transforms.cam_logits import CAMLogits, CAMLogitsd
from wss_monai.transforms.cam_scores import CAMScores, CAMScoresd
from wss_monai.transforms.channel_shifts import ChannelShifts
from wss_monai.transforms.dense_crf import DenseCRFd, RefineByDenseCRF
from wss_monai.transforms.equivariant import RandEquivariantTransform, RandFlips
from wss_monai.transforms.expected_sizes import EstimatedSizesd, StatedSizesd
from wss_monai.transforms.far_background import FarBackgroundd
from wss_monai.transforms.fill_classes import FillClassesd
from wss_monai.transforms.filled_boxes import FilledBoxesd
from wss_monai.transforms.fit_to_frame import FitToFramed
from wss_monai.transforms.image_files import VolumeReader
from wss_monai.transforms.jitter_augment import JitterAugment
from wss_monai.transforms.load_case import LoadCased
from wss_monai.transforms.partial_cross_entropy import PartialCrossEntropyd
from wss_monai.transforms.percentiles import ScalePercentilesd
from wss_monai.transforms.random_walker import RandomWalkerd
from wss_monai.transforms.tags import WeakTags, WeakTagsd
from wss_monai.transforms.weak_labels import RandWeakLabel, RandWeakLabeld, WeakLabeld

__all__ = [
    "AnatomyValues",
    "BatchAugment",
    "BoxBounds",
    "BoxBoundsd",
    "BoxTightnessBounds",
    "BoxTightnessBoundsd",
    "CAMLogits",
    "CAMLogitsd",
    "CAMScores",
    "CAMScoresd",
    "ChannelShifts",
    "ConstantBounds",
    "ConstantBoundsd",
    "DenseCRFd",
    "EmptinessBounds",
    "EmptinessBoundsd",
    "EqualVolumed",
    "EstimatedBounds",
    "EstimatedBoundsd",
    "EstimatedSizesd",
    "FarBackgroundd",
    "FillClassesd",
    "FilledBoxesd",
    "FitToFramed",
    "JitterAugment",
    "LabelBounds",
    "LabelBoundsd",
    "LoadCased",
    "PartialCrossEntropyd",
    "PredictedBounds",
    "PredictedBoundsd",
    "RandEquivariantTransform",
    "RandFlips",
    "RandWeakLabel",
    "RandWeakLabeld",
    "RandomWalkerd",
    "RefineByDenseCRF",
    "ScalePercentilesd",
    "StatedSizesd",
    "VolumeReader",
    "WeakCuesd",
    "WeakLabeld",
    "WeakTags",
    "WeakTagsd",
]
