# SPDX-License-Identifier: Apache-2.0
"""The commands of the tutorial pages run as they stand, with fewer and smaller images and one epoch of training."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import fire
import monai.bundle
import pytest
from monai.utils import set_determinism
from tiny import ROOT

from wss_monai.__main__ import main

PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FEWER = {
    "synthesize cardiac": "--patients 4",
    "synthesize toy": "--images 4 3 --size 128 128 --radius 25",
    "synthesize two-circles": "--images 12 6 --size 128 128 --radius 12",
}
SMALLER = {
    "acdc_size": ["--pixdim", "[4.0,4.0,-1.0]", "--crop", "[64,64,-1]", "--window", "[64,64]"],
    "toy_": ["--window", "[128,128]"],
}
"""By how the name of a bundle begins."""
BUNDLE, OURS = "python -m monai.bundle ", "python -m wss_monai "


def commands(page: Path) -> list[str]:
    """Lines of the shell blocks of a page, in their order."""
    found = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [line for block in found for line in block.replace("\\\n", " ").splitlines() if line]


def start(command: str) -> None:
    """Run a command of a page in this process."""
    if command.startswith(OURS):
        words = command.removeprefix(OURS)
        fewer = next((flags for start, flags in FEWER.items() if words.startswith(start)), "")
        assert main(shlex.split(f"{words} {fewer}")) == 0, command
        return
    assert command.startswith(BUNDLE), f"neither ours nor MONAI's: {command}"
    words = shlex.split(command.removeprefix(BUNDLE))
    if "training" in words:
        words += ["--train#trainer#max_epochs", "1"]
    for bundle, sizes in SMALLER.items():
        words += sizes if f"bundles/{bundle}" in command else []
    fire.Fire({"run": monai.bundle.run}, command=words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    monkeypatch.chdir(tmp_path)
    lines = commands(page)
    assert sum("run training" in line for line in lines) >= 2
    try:
        for line in lines:
            start(line)
    finally:
        set_determinism(None)
    for written in re.findall(r"--(?:out|preview) (\S+)", "\n".join(lines)):
        path = tmp_path / written
        assert path.is_dir() or path.stat().st_size > 1000, written


def test_there_are_three_pages():
    assert [page.stem for page in PAGES] == ["acdc-size", "toy-discs", "two-circles"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_of_a_page_is_there(page):
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page.read_text(), re.S):
        assert (page.parent / picture).is_file(), picture
