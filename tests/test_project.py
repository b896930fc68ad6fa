# SPDX-License-Identifier: Apache-2.0
"""The files about the project agree with each other: version, metadata, licence, citation, workflow, templates."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys

import pytest
from tiny import ROOT

from wss_monai import __version__

METADATA = sorted(ROOT.glob("bundles/*/configs/metadata.json"))


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    made = configparser.ConfigParser()
    made.read(ROOT / "setup.cfg")
    return made


def test_the_version_stands_in_the_package_alone(setup):
    assert setup["metadata"]["version"] == "attr: wss_monai.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_version_can_be_read_where_nothing_is_installed():
    """As setuptools does before any requirement is there: -S leaves out what is installed."""
    code = "import wss_monai; print(wss_monai.__version__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == (f"{__version__}\n", "")


@pytest.mark.parametrize("file", METADATA, ids=lambda file: file.parts[-3])
def test_bundles_name_the_version_of_the_package_or_none(file):
    meta = json.loads(file.read_text(encoding="utf-8"))
    assert meta["version"] in meta["changelog"]
    assert meta.get("required_packages_version", {}).get("wss_monai", __version__) == __version__


def test_there_are_bundles():
    assert len(METADATA) > 5


def test_metadata_of_the_package(setup):
    meta = setup["metadata"]
    classifiers = meta["classifiers"].split("\n")
    assert meta["author"] == "wss_monai developers"
    assert meta["keywords"].strip()
    least = tuple(map(int, re.findall(r"\d+", setup["options"]["python_requires"])))
    named = [tuple(map(int, found.groups())) for c in classifiers if (found := re.search(r":: (\d+)\.(\d+)$", c))]
    assert named and all(version >= least for version in named)
