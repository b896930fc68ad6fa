# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def real_data():
    """Give the folder of a real data set by name, or skip with the reason."""
    base = Path(os.environ.get("WSS_MONAI_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (base / name).is_dir():
            pytest.skip(f"real data set '{name}' is not here (set WSS_MONAI_DATA to the folder that holds it)")
        return base / name

    return find
