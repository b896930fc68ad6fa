# SPDX-License-Identifier: Apache-2.0
"""What the bundles' MONAI trainers need besides MONAI's own parts: from a batch to inputs and targets."""

from __future__ import annotations

from wss_monai.engines.batch_trainer import BatchTrainer
from wss_monai.engines.each_case import EachCase, EachCaseEvaluator
from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.engines.prepare_teacher import PrepareTeacher
from wss_monai.engines.pseudo_labels import PreparePseudoLabels, refused_by_bounds
from wss_monai.engines.semi_supervised import PrepareSemiSupervised
from wss_monai.engines.two_views import PrepareViews
from wss_monai.moved import names_of

__all__ = [
    "BatchTrainer",
    "EachCase",
    "EachCaseEvaluator",
    "PreparePseudoLabels",
    "PrepareSemiSupervised",
    "PrepareTargets",
    "PrepareTeacher",
    "PrepareViews",
    "refused_by_bounds",
]

__getattr__ = names_of("engines")
