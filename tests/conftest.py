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


LONG = (
    "test_gpu_kit.py",
    "test_tutorials.py",
    "bundles/test_cross_modality_bundles.py",
    "bundles/test_toy_bundles.py",
    "bundles/test_acdc_logbarrier.py",
    "bundles/test_acdc_sec.py",
    "commands/test_score.py",
    "bundles/test_faults.py",
    "bundles/test_promise12_logbarrier.py",
    "bundles/test_export.py",
    "test_device.py",
)
"""Files that take longest, in that order: begun first, so that no process ends with one of them alone."""


SLOW = (
    "test_gpu_kit.py",
    "test_random_walker.py",
    "test_tutorials.py",
    "commands/test_score.py",
    "commands/test_pseudo_label.py",
    "data/phantoms/test_cardiac_phantom.py",
    "bundle/test_allocator.py",
    "bundle/test_user_errors.py",
    "functional/test_local_joint.py",
    "report/test_browse_in_chromium.py",
    "report/test_page.py",
)
"""Their tests train, start processes or a browser, or differentiate large inputs: `make quick` leaves them out."""
QUICK = ("bundles/test_every_bundle.py", "bundles/test_devices.py")
"""The files of bundles/ that do not; all others of that folder are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, within a file the order stays; slow ones get their marker."""
    folder = ROOT / "tests"
    rank = {folder / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))
    slow = {folder / name for name in SLOW} | {*(folder / "bundles").glob("test_*.py")}
    slow -= {folder / name for name in QUICK}
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)
