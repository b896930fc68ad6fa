# SPDX-License-Identifier: Apache-2.0
"""Losses: partial supervision, constraints, and their weighted sum. All take logits."""

from wss_monai.losses.barrier_t import barrier_t
from wss_monai.losses.consistency import ConsistencyLoss, EntropyLoss
from wss_monai.losses.constraint import ConstraintLoss
from wss_monai.losses.cross_modality import ClassificationLoss, EquivariantCAMLoss
from wss_monai.losses.dual_decoder import DualDecoderLoss
from wss_monai.losses.equivariance import (
    ClassDistributionExchangeLoss,
    CrossModalityEquivarianceLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.losses.gated_crf import GatedCRFLoss
from wss_monai.losses.mixed_labels import MixedLabelLoss
from wss_monai.losses.mutual_information import IICLoss, LocalIICLoss
from wss_monai.losses.partial import PartialCrossEntropyLoss, PartialDiceCELoss, PartialDiceLoss
from wss_monai.losses.penalties import LogBarrierExtension, QuadraticPenalty, ReLUPenalty
from wss_monai.losses.seed_expand_constrain import ConstrainToBoundaryLoss, ExpansionLoss, SeedingLoss
from wss_monai.losses.semi_supervised import FeatureMutualInformationLoss, SemiSupervisedLoss
from wss_monai.losses.size_bounds import drawn_classes, size_bounds
from wss_monai.losses.tags import TagLoss
from wss_monai.losses.term import Term
from wss_monai.losses.weighted_sum import WeightedSumLoss
from wss_monai.moved import names_of

__all__ = [
    "ClassDistributionExchangeLoss",
    "ClassificationLoss",
    "ConsistencyLoss",
    "ConstrainToBoundaryLoss",
    "ConstraintLoss",
    "CrossModalityEquivarianceLoss",
    "DualDecoderLoss",
    "EntropyLoss",
    "EquivariantCAMLoss",
    "ExpansionLoss",
    "FeatureMutualInformationLoss",
    "GatedCRFLoss",
    "IICLoss",
    "LocalIICLoss",
    "LogBarrierExtension",
    "MixedLabelLoss",
    "PartialCrossEntropyLoss",
    "PartialDiceCELoss",
    "PartialDiceLoss",
    "QuadraticPenalty",
    "ReLUPenalty",
    "SeedingLoss",
    "SemiSupervisedLoss",
    "TagLoss",
    "Term",
    "WeightedSumLoss",
    "WithinModalityEquivarianceLoss",
    "barrier_t",
    "drawn_classes",
    "size_bounds",
]

__getattr__ = names_of("losses")
