# SPDX-License-Identifier: Apache-2.0
"""Parameter groups, several optimisers as one, and a learning rate with warm-up and cosine decay."""

from __future__ import annotations

from wss_monai.optimizers.parameter_groups import layer_groups, published_groups
from wss_monai.optimizers.several_optimizers import SeveralOptimizers
from wss_monai.optimizers.warmup_cosine import WarmupCosineLR

__all__ = ["SeveralOptimizers", "WarmupCosineLR", "layer_groups", "published_groups"]
