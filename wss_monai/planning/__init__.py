# SPDX-License-Identifier: Apache-2.0
"""From what a data set holds to the settings of a first training on it, each with a reason."""

from __future__ import annotations

from wss_monai.planning.facts import CaseFacts, DataFacts, read_facts
from wss_monai.planning.plan import Plan, Setting, make_plan
from wss_monai.planning.text import plan_text

__all__ = ["CaseFacts", "DataFacts", "Plan", "Setting", "make_plan", "plan_text", "read_facts"]
