# SPDX-License-Identifier: Apache-2.0
"""The tiny data set, and a way to run a bundle on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import ROOT, make_dataset, workflow


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("discs"))


@pytest.fixture(scope="session")
def weak_dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("weak_discs"), dense=False)


@pytest.fixture
def run_bundle(dataset, tmp_path, monkeypatch):
    """Run a workflow from the repository root and give it back with its output folder."""
    monkeypatch.chdir(ROOT)

    def run(*files: str, folder: Path = dataset, out: Path = tmp_path / "run", run: bool = True, **overrides):
        flow = workflow(*files, folder=folder, out=out, **overrides)
        flow.initialize()
        if run:
            flow.run()
            flow.finalize()
        return flow, out

    return run
