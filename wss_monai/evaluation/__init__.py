# SPDX-License-Identifier: Apache-2.0
"""The score of one volume: metrics, satisfaction of constraints, and the prediction as a file."""

from __future__ import annotations

from wss_monai.evaluation.volume_scorer import ScoredVolume, VolumeScorer

__all__ = ["ScoredVolume", "VolumeScorer"]
