# SPDX-License-Identifier: Apache-2.0
"""Masks and localisation cues from networks that were trained on tags."""

from __future__ import annotations

from wss_monai.pseudo_labels.cams import CAMPseudoLabels
from wss_monai.pseudo_labels.cue_files import CueWriter
from wss_monai.pseudo_labels.cues import TagCues

__all__ = ["CAMPseudoLabels", "CueWriter", "TagCues"]
