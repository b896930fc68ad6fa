# SPDX-License-Identifier: Apache-2.0
"""Bundles of a clone and of an installed package: which there are, and copies of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tiny import ROOT

import wss_monai
from wss_monai.io.shipped_bundles import bundles_folder, copy_bundle, missing_file, shipped_bundles

NAMES = sorted(path.parent.name for path in ROOT.glob("bundles/*/bundle.yaml"))


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as a wheel installs it, with one bundle."""
    shipped = folder / "wss_monai" / "bundles_data" / "acdc_size"
    shutil.copytree(ROOT / "bundles" / "acdc_size", shipped, ignore=shutil.ignore_patterns("bundle.yaml"))
    monkeypatch.setattr(wss_monai, "__file__", str(folder / "wss_monai" / "__init__.py"))
    return shipped


def test_all_bundles_of_a_clone_are_listed_with_their_task():
    found = shipped_bundles()
    assert [bundle.name for bundle in found] == NAMES
    assert all(len(bundle.task) > 20 for bundle in found)
    assert bundles_folder() == ROOT / "bundles"


def test_those_of_an_installed_package_are_its_data(tmp_path, monkeypatch):
    shipped = installed(tmp_path, monkeypatch)
    assert bundles_folder() == shipped.parent
    assert [bundle.name for bundle in shipped_bundles()] == ["acdc_size"]


def test_a_package_without_bundles_is_refused(tmp_path, monkeypatch):
    (tmp_path / "wss_monai").mkdir()
    monkeypatch.setattr(wss_monai, "__file__", str(tmp_path / "wss_monai" / "__init__.py"))
    with pytest.raises(FileNotFoundError, match="install the package again"):
        bundles_folder()


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_bundle_without_its_sources_and_leads_nowhere_outside(name, tmp_path):
    out = copy_bundle(name, tmp_path / "mine")
    source = ROOT / "bundles" / name
    assert {path.name for path in out.iterdir()} >= {"LICENSE", "configs", "docs"}
    assert not {"bundle.yaml", "source"} & {path.name for path in out.iterdir()}
    for file in source.glob("configs/*"):
        assert (out / "configs" / file.name).read_bytes() == file.read_bytes()
    page = (out / "docs" / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page, flags=re.S)):
        assert re.match(r"https?:|#", target) or (out / "docs" / target.split("#")[0]).exists(), target


def test_a_name_that_is_none_and_a_place_that_is_taken_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no bundle 'acdc_siz'; there are acdc_logbarrier, "):
        copy_bundle("acdc_siz", tmp_path / "a")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").touch()
    for taken in ("file", "folder"):
        with pytest.raises(FileExistsError, match=f"--out: '.*{taken}' is there already"):
            copy_bundle("acdc_size", tmp_path / taken)
    (tmp_path / "empty").mkdir()
    copy_bundle("acdc_size", tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "folder"]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("bundles/weak_2d/configs/train.yaml", "`wss-monai bundles copy weak_2d` makes it"),
        ("/x/heart/weak_2d/configs/a.yaml", "`wss-monai bundles copy weak_2d --out /x/heart/weak_2d` makes it"),
        ("bundles/weak_4d/configs/train.yaml", None),
        ("mine.yaml", None),
    ],
)
def test_a_missing_file_of_a_bundle_says_how_to_get_it(file, told):
    found = missing_file(file)
    assert found.startswith(f"--config_file: there is no file '{file}'")
    assert found.endswith(told) if told else "bundles copy" not in found
