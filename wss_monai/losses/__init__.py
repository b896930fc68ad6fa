# SPDX-License-Identifier: Apache-2.0
"""Losses: partial supervision, constraints, and their weighted sum. All take logits."""

from wss_monai.losses.across import EqualVolumeLoss, SmoothAreasLoss
from wss_monai.losses.bounds_of_batch import drawn_classes, size_bounds
from wss_monai.losses.consistency import ConsistencyLoss, EntropyLoss
from wss_monai.losses.constraint import ConstraintLoss
from wss_monai.losses.cross_modality import ClassificationLoss, EquivariantCAMLoss
from wss_monai.losses.dual_decoder import DualDecoderLoss
from wss_monai.losses.enforcers import enforcer
from wss_monai.losses.equivariance import (
    ClassDistributionExchangeLoss,
    CrossModalityEquivarianceLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.losses.gated_crf import GatedCRFLoss
from wss_monai.losses.mixed_labels import MixedLabelLoss
from wss_monai.losses.multipliers import AugmentedLagrangian, DualPenalty, PrimalDual
from wss_monai.losses.mutual_information import IICLoss, LocalIICLoss
from wss_monai.losses.partial import PartialCrossEntropyLoss, PartialDiceCELoss, PartialDiceLoss
from wss_monai.losses.penalties import LogBarrierExtension, QuadraticPenalty, ReLUPenalty
from wss_monai.losses.regularisers import MumfordShahLoss, TotalVariationLoss
from wss_monai.losses.seed_expand_constrain import ConstrainToBoundaryLoss, ExpansionLoss, SeedingLoss
from wss_monai.losses.semi_supervised import FeatureMutualInformationLoss, SemiSupervisedLoss
from wss_monai.losses.sharpness import barrier_t
from wss_monai.losses.tags import TagLoss
from wss_monai.losses.term import Term
from wss_monai.losses.uncertain_teacher import UncertainTeacherLoss
from wss_monai.losses.weighted_sum import WeightedSumLoss
from wss_monai.moved import names_of

__all__ = [
    "AugmentedLagrangian",
    "ClassDistributionExchangeLoss",
    "ClassificationLoss",
    "ConsistencyLoss",
    "ConstrainToBoundaryLoss",
    "ConstraintLoss",
    "CrossModalityEquivarianceLoss",
    "DualDecoderLoss",
    "DualPenalty",
    "EntropyLoss",
    "EqualVolumeLoss",
    "EquivariantCAMLoss",
    "ExpansionLoss",
    "FeatureMutualInformationLoss",
    "GatedCRFLoss",
    "IICLoss",
    "LocalIICLoss",
    "LogBarrierExtension",
    "MixedLabelLoss",
    "MumfordShahLoss",
    "PartialCrossEntropyLoss",
    "PartialDiceCELoss",
    "PartialDiceLoss",
    "PrimalDual",
    "QuadraticPenalty",
    "ReLUPenalty",
    "SeedingLoss",
    "SemiSupervisedLoss",
    "SmoothAreasLoss",
    "TagLoss",
    "Term",
    "TotalVariationLoss",
    "UncertainTeacherLoss",
    "WeightedSumLoss",
    "WithinModalityEquivarianceLoss",
    "enforcer",
    "barrier_t",
    "drawn_classes",
    "size_bounds",
]

__getattr__ = names_of("losses")
