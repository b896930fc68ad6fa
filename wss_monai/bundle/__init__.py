# SPDX-License-Identifier: Apache-2.0
"""What a bundle needs to run: a choice among settings, checked overrides, errors without a traceback, memory."""

from __future__ import annotations

from wss_monai.bundle.allocator import keep_freed_memory
from wss_monai.bundle.budget import Budget
from wss_monai.bundle.choice import choose, choose_some, resolve
from wss_monai.bundle.configuration import whole_configuration
from wss_monai.bundle.memory import memory_format_for
from wss_monai.bundle.overrides import check_overrides
from wss_monai.bundle.prediction_settings import keep_prediction_settings, recorded_settings

__all__ = [
    "Budget",
    "check_overrides",
    "choose",
    "choose_some",
    "keep_freed_memory",
    "keep_prediction_settings",
    "memory_format_for",
    "recorded_settings",
    "resolve",
    "whole_configuration",
]
