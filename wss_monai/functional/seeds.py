# SPDX-License-Identifier: Apache-2.0
"""Seeds of draws that depend on nothing but the numbers that name them."""

from __future__ import annotations

import numpy as np

__all__ = ["seed_of"]


def seed_of(*numbers: int) -> int:
    """A seed below 2^62 from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 2)
