# SPDX-License-Identifier: Apache-2.0
"""Modules and names of the release before: they work where they were, and say where they are."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from wss_monai import moved

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("old", sorted(moved.MODULES))
def test_an_old_module_is_the_new_one(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"wss_monai.{old}", raising=False)
    new = importlib.import_module(f"wss_monai.{moved.MODULES[old]}")
    with pytest.warns(FutureWarning, match=re.escape(f"wss_monai.{old} is now wss_monai.{moved.MODULES[old]}")):
        assert importlib.import_module(f"wss_monai.{old}") is new
    assert new.__name__ == new.__spec__.name == f"wss_monai.{moved.MODULES[old]}"


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in moved.NAMES for name in moved.NAMES[room]])
def test_an_old_name_is_the_new_one(room, name):
    new = moved.NAMES[room][name]
    with pytest.warns(FutureWarning, match=f"wss_monai.{room}.{name} is now wss_monai.{new}.{name}"):
        value = getattr(importlib.import_module(f"wss_monai.{room}"), name)
    assert value is getattr(importlib.import_module(f"wss_monai.{new}"), name)


def test_a_configuration_that_a_user_wrote_still_runs():
    written = {"crf": {"_target_": "wss_monai.losses.DenseCRF", "iterations": 3}}
    written["mode"] = {"_target_": "wss_monai.engines.choose", "name": "mode", "value": "a", "choices": {"a": 1}}
    written["box"] = {"_target_": "wss_monai.transforms.box_bounds.BoxBoundsd", "class_names": ["background", "LV"]}
    parser = ConfigParser(written)
    with pytest.warns(FutureWarning):
        assert parser.get_parsed_content("crf").iterations == 3
        assert parser.get_parsed_content("mode") == 1
        assert type(parser.get_parsed_content("box")).__name__ == "BoxBoundsd"


def test_a_name_that_never_was_is_an_ordinary_error():
    with pytest.raises(ImportError, match="nothing_of_the_sort"):
        from wss_monai.engines import nothing_of_the_sort  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wss_monai.data.nothing_of_the_sort")


def test_nothing_here_uses_an_old_place():
    """The table is for others: the package, the bundles, benchmarks and pages name the new places."""
    here = ("moved.py", "test_moved.py", "CHANGELOG.md")
    old = [re.escape(f"wss_monai.{name}") for name in moved.MODULES]
    old += [re.escape(f"wss_monai.{room}.{name}") for room in moved.NAMES for name in moved.NAMES[room]]
    pattern = re.compile(rf"(?:{'|'.join(old)})(?!\w)")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = [ROOT / name for name in files if name.endswith((".py", ".yaml", ".md", ".cfg", ".json", ".sh"))]
    found = {
        str(file.relative_to(ROOT)): sorted(set(pattern.findall(file.read_text(encoding="utf-8"))))
        for file in texts
        if file.name not in here and file.is_file()
    }
    assert {file: names for file, names in found.items() if names} == {}
