# SPDX-License-Identifier: Apache-2.0
"""What a wheel holds and says. `make wheel-check` builds one, installs it in a fresh environment and runs it."""

from __future__ import annotations

import email
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

BUNDLES = sorted(path.parent.name for path in ROOT.glob("bundles/*/bundle.yaml"))
SHIPPED = ("LICENSE", "configs/*", "docs/*", "models/*")
SOURCES = ("wss_monai", "bundles", "setup.py", "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """What a wheel is made from, in a folder of its own: building writes beside the sources."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("clone")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(clone: Path, *words: str) -> Path:
    subprocess.run([sys.executable, "setup.py", "--quiet", *words], cwd=clone, capture_output=True, check=True)
    return clone


@pytest.mark.slow
def test_the_packages_of_a_wheel_are_ours_with_what_the_bundles_ship(clone):
    built = build(clone, "build", "--build-lib", "built") / "built" / "wss_monai"
    expected = {
        path.relative_to(ROOT / "bundles").as_posix()
        for name in BUNDLES
        for kind in SHIPPED
        for path in (ROOT / "bundles" / name).glob(kind)
        if path.is_file()
    }
    data = built / "bundles_data"
    found = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    assert found == expected > {"acdc_size/configs/train.yaml", "hippocampus_logbarrier/models/model.pt"}
    ours = {path.relative_to(ROOT / "wss_monai").as_posix() for path in (ROOT / "wss_monai").rglob("*.py")}
    assert {path.relative_to(built).as_posix() for path in built.rglob("*.py")} == ours
    assert (built / "py.typed").is_file() and list(built.glob("report/*.html"))
    code = "import wss_monai.io.shipped_bundles as s; print(*(b.name for b in s.shipped_bundles()), s.bundles_folder())"
    done = subprocess.run([sys.executable, "-c", code], cwd=built.parent, env={"PYTHONPATH": str(built.parent)},
        capture_output=True, encoding="utf-8", check=True)  # fmt: skip
    assert done.stdout.split() == [*BUNDLES, str(data)]


@pytest.mark.slow
def test_the_metadata_of_a_wheel(clone):
    info = build(clone, "egg_info") / "wss_monai.egg-info"
    about = email.message_from_string((info / "PKG-INFO").read_text(encoding="utf-8"))
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == ">=3.11"
    assert not [line for line in about.get_all("Classifier") if line.startswith("License ::")]
    assert about["Description-Content-Type"] == "text/markdown"
    assert len(about["Keywords"].split(",")) > 4
    page = re.sub(r"```.*?```|`[^`]*`", "", about.get_payload(), flags=re.S)
    assert page.lstrip().startswith("# wss_monai")
    assert not re.findall(r"\]\((?!https?:|#)", page)


def test_links_lead_to_the_repository_once_setup_cfg_names_it(tmp_path):
    for name in ("setup.py", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "wss_monai" / "io").mkdir(parents=True)
    shutil.copy(ROOT / "wss_monai" / "io" / "page_links.py", tmp_path / "wss_monai" / "io")
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    (tmp_path / "setup.cfg").write_text(text.replace("[metadata]\n", "[metadata]\nurl = https://host/o/n\n"))
    page = runpy.run_path(str(tmp_path / "setup.py"))["long_description"]()
    assert "(https://host/o/n/blob/main/docs/how-to/install.md)" in page
    assert "(https://host/o/n/raw/main/docs/images/demo.png)" in page
