# SPDX-License-Identifier: Apache-2.0
"""What the bundles' MONAI trainers and evaluators need besides MONAI's own parts."""

from wss_monai.engines.choose import choose, resolve
from wss_monai.engines.overrides import check_overrides
from wss_monai.engines.prepare_batch import PrepareTargets

__all__ = ["PrepareTargets", "check_overrides", "choose", "resolve"]
