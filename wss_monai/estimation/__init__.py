# SPDX-License-Identifier: Apache-2.0
"""Bounds fitted on a few dense patients."""

from __future__ import annotations

from wss_monai.estimation.anatomy import audit_anatomy, fit_anatomy, measure_anatomy
from wss_monai.estimation.area_profiles import audit_profiles, check_profiles, fit_profile
from wss_monai.estimation.bounds import audit_bounds, fit_bounds
from wss_monai.estimation.conformal import fit_interval, fit_reach
from wss_monai.estimation.measures import CaseMeasures, measure_cases
from wss_monai.estimation.set_sizes import expected_sum
from wss_monai.moved import names_of

__all__ = [
    "CaseMeasures",
    "audit_anatomy",
    "audit_bounds",
    "audit_profiles",
    "check_profiles",
    "expected_sum",
    "fit_anatomy",
    "fit_bounds",
    "fit_interval",
    "fit_profile",
    "fit_reach",
    "measure_anatomy",
    "measure_cases",
]

__getattr__ = names_of("estimation")
