# SPDX-License-Identifier: Apache-2.0
"""Bounds fitted on a few dense patients, and cues or pseudo-labels from networks trained on tags."""

from __future__ import annotations

from wss_monai.estimation.area_profiles import audit_profiles, check_profiles, fit_profile
from wss_monai.estimation.bounds import audit_bounds, fit_bounds
from wss_monai.estimation.cam_pseudo_labels import CAMPseudoLabels
from wss_monai.estimation.conformal import fit_interval, fit_reach
from wss_monai.estimation.cue_files import CueWriter
from wss_monai.estimation.cues import TagCues
from wss_monai.estimation.measures import CaseMeasures, measure_cases
from wss_monai.estimation.set_sizes import expected_sum

__all__ = [
    "CAMPseudoLabels",
    "CaseMeasures",
    "CueWriter",
    "TagCues",
    "audit_bounds",
    "audit_profiles",
    "check_profiles",
    "expected_sum",
    "fit_bounds",
    "fit_interval",
    "fit_profile",
    "fit_reach",
    "measure_cases",
]
