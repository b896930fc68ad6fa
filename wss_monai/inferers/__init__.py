# SPDX-License-Identifier: Apache-2.0
"""How a network is called: slice by slice, on two views, on labelled and unlabelled images at once."""

from __future__ import annotations

from wss_monai.inferers.semi_supervised import SemiSupervisedInferer
from wss_monai.inferers.slices import SlicesInferer
from wss_monai.inferers.two_views import TwoViews

__all__ = ["SemiSupervisedInferer", "SlicesInferer", "TwoViews"]
