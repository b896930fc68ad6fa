# SPDX-License-Identifier: Apache-2.0
"""The tiny data set, and a way to run a bundle on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny import ROOT, make_dataset, run_workflow

from wss_monai.__main__ import main


@pytest.fixture(scope="module", autouse=True)
def quick_pictures():
    """Snapshots are written with little compression, which takes a fifth of a tiny run otherwise; same pixels."""
    save = Image.Image.save

    def quickly(self, fp, format=None, **how):
        save(self, fp, format, **{**how, "optimize": False, "compress_level": 1})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "save", quickly)
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def weak_dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("weak_discs"), dense=False)


@pytest.fixture(scope="session")
def prostates(tmp_path_factory) -> Path:
    """T2 and ADC of 14 to 22 slices, of which the first and the last two or three do not show the prostate."""
    folder = tmp_path_factory.mktemp("prostates") / "data"
    words = ["--zones", "none", "--size", "32", "--patients", "4", "--out", str(folder)]
    assert main(["synthesize", "prostate", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def six_patients(tmp_path_factory) -> Path:
    """Five training patients and one to test, for what is fitted on some of them."""
    return make_dataset(tmp_path_factory.mktemp("six") / "data", patients=6)


@pytest.fixture(scope="session")
def bounds_file(six_patients, tmp_path_factory) -> Path:
    """Bounds estimated from four of the six patients."""
    file = tmp_path_factory.mktemp("bounds") / "bounds.json"
    words = ["--dense", "4", "--terms", "size", "volume", "extent", "--validation", "1", "--out", str(file)]
    assert main(["bounds", "--fit", str(six_patients), *words]) == 0
    return file


@pytest.fixture
def run_bundle(dataset, tmp_path, monkeypatch):
    """Run a workflow from the repository root and give it back with its output folder."""
    monkeypatch.chdir(ROOT)

    def run(*files: str, folder: Path = dataset, out: Path = tmp_path / "run", run: bool = True, **overrides):
        return run_workflow(*files, execute=run, folder=folder, out=out, **overrides), out

    return run
