# SPDX-License-Identifier: Apache-2.0
"""What the bundles' MONAI trainers and evaluators need besides MONAI's own parts."""

from wss_monai.engines.allocator import keep_freed_memory
from wss_monai.engines.choice import choose, resolve
from wss_monai.engines.overrides import check_overrides
from wss_monai.engines.parameter_groups import layer_groups, published_groups
from wss_monai.engines.prepare_batch import PrepareTargets
from wss_monai.engines.prepare_teacher import PrepareTeacher
from wss_monai.engines.pseudo_labels import PreparePseudoLabels, refused_by_bounds
from wss_monai.engines.semi_supervised import PrepareSemiSupervised, SemiSupervisedInferer
from wss_monai.engines.several_optimizers import SeveralOptimizers
from wss_monai.engines.slices_inferer import SlicesInferer
from wss_monai.engines.two_views import PrepareViews, TwoViews
from wss_monai.engines.warmup_cosine import WarmupCosineLR

__all__ = [
    "PreparePseudoLabels",
    "PrepareSemiSupervised",
    "PrepareTargets",
    "PrepareTeacher",
    "PrepareViews",
    "SemiSupervisedInferer",
    "SeveralOptimizers",
    "SlicesInferer",
    "TwoViews",
    "WarmupCosineLR",
    "check_overrides",
    "choose",
    "keep_freed_memory",
    "layer_groups",
    "published_groups",
    "refused_by_bounds",
    "resolve",
]
