# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

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


@pytest.fixture(scope="session", autouse=True)
def each_configuration_is_parsed_once():
    """A bundle reads ten YAML files at each start, which takes a third of a tiny run."""
    read, parsed = ConfigParser.load_config_file, {}

    def load(filepath, **kwargs):
        if kwargs or not Path(filepath or "").is_file():
            return read(filepath, **kwargs)
        key = Path(filepath).read_bytes(), Path(filepath).suffix
        if key not in parsed:
            parsed[key] = pickle.dumps(read(filepath))
        return pickle.loads(parsed[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigParser, "load_config_file", staticmethod(load))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_file_waits_for_the_disk():
    """A tiny run writes ten files, each of which is to outlive a machine that stops: no test looks at that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


LONG = (
    "test_gpu_kit.py",
    "bundles/test_cross_modality_bundles.py",
    "bundles/test_kill_resume.py",
    "bundles/test_multi_gpu.py",
    "bundles/test_mutual_information_bundle.py",
    "bundles/test_acdc_logbarrier.py",
    "bundles/test_hippocampus_logbarrier.py",
    "test_tutorials.py",
    "commands/test_score.py",
    "bundles/test_export.py",
    "bundles/test_toy_bundles.py",
    "report/test_page.py",
    "bundles/test_promise12_logbarrier.py",
    "bundles/test_acdc_sec.py",
    "bundles/test_mutual_information_overlays.py",
    "bundles/test_faults.py",
    "test_device.py",
    "bundles/test_every_bundle.py",
)
"""Files that take longest, in that order: begun first, so that no process ends with one of them alone."""


SLOW = (
    "test_gpu_kit.py",
    "test_random_walker.py",
    "test_tutorials.py",
    "commands/test_score.py",
    "commands/test_predict.py",
    "commands/test_pseudo_label.py",
    "prediction/test_bundles.py",
    "prediction/test_predictor.py",
    "prediction/test_two_dimensions.py",
    "data/phantoms/test_brain_phantom.py",
    "data/phantoms/test_cardiac_phantom.py",
    "data/phantoms/test_promise12_phantom.py",
    "data/phantoms/test_prostate_phantom.py",
    "bundle/test_allocator.py",
    "engines/test_two_views.py",
    "bundle/test_user_errors.py",
    "functional/test_local_joint.py",
    "report/test_browse_in_chromium.py",
    "report/test_page_in_chromium.py",
    "report/test_page.py",
)
"""Their tests train, generate volumes, start processes or a browser, or differentiate large inputs: `make quick` leaves
them out, as it does single tests that are marked where they stand."""
QUICK = ("bundles/test_every_bundle.py", "bundles/test_devices.py")
"""The files of bundles/ that do not; all others of that folder are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, within a file the order stays; slow ones get their marker."""
    folder = ROOT / "tests"
    if missing := [name for name in (*LONG, *SLOW, *QUICK) if not (folder / name).is_file()]:
        raise pytest.UsageError(f"tests/conftest.py names {missing}, which do not exist")
    rank = {folder / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))
    slow = {folder / name for name in SLOW} | {*(folder / "bundles").glob("test_*.py")}
    slow -= {folder / name for name in QUICK}
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)
