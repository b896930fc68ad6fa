# SPDX-License-Identifier: Apache-2.0
"""A run that has learnt the discs, evaluated, and what it predicts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import ROOT, make_dataset, run_workflow

from wss_monai.prediction import Predictor

SETTINGS = {
    "train#trainer#max_epochs": 8,
    "learning_rate": 0.02,
    "train#augment": None,
    "network_def#features": [8, 8, 16, 16, 16, 8],
    "mode": "full",
    "pixdim": [1.7, 1.7, -1.0],
    "val_interval": 8,
}


@pytest.fixture
def settings() -> dict:
    """Of the run."""
    return dict(SETTINGS)


@pytest.fixture(scope="session")
def discs(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("discs") / "data")


@pytest.fixture(scope="session")
def trained(discs, tmp_path_factory) -> Path:
    """The folder of a run; tests that change it copy it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run_workflow("train.yaml", folder=discs, out=out, **SETTINGS)
        run_workflow("train.yaml", "evaluate.yaml", folder=discs, out=out, keep_largest=True, **SETTINGS)
    return out


@pytest.fixture(scope="session")
def image(discs) -> Path:
    """Of the test patient."""
    return discs / "images" / "p0_ED.nii.gz"


@pytest.fixture(scope="session")
def predictor(trained) -> Predictor:
    return Predictor(trained)


@pytest.fixture(scope="session")
def expected(predictor, image):
    return predictor(image)


@pytest.fixture
def changed(trained, tmp_path):
    """Give a copy of the run whose prediction.json says something else."""

    def change(name: str = "copy", **entries) -> Path:
        folder = tmp_path / name
        shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("evaluation", "snapshots", "tensorboard"))
        path = folder / "prediction.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))
        return folder

    return change
