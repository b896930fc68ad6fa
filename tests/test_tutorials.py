# SPDX-License-Identifier: Apache-2.0
"""The tutorials run as they stand, with fewer and smaller images and one epoch of training.

Pages and notebooks hold the same commands: here the cells of the notebooks run, in this process, and where there is
Jupyter once more in it.
"""

from __future__ import annotations

import inspect
import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

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


MAKE = runpy.run_path(str(ROOT / "docs" / "make_notebooks.py"))


def notebook_of(page: Path) -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "notebooks" / f"{page.stem}.ipynb").read_text(encoding="utf-8"))


def cells(page: Path, kind: str) -> list[str]:
    """Sources of the cells of a page's notebook."""
    return ["".join(cell["source"]) for cell in notebook_of(page)["cells"] if cell["cell_type"] == kind]


def commands(page: Path) -> list[str]:
    """Lines of the shell blocks of a page, in their order."""
    found = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [line for block in found for line in block.replace("\\\n", " ").splitlines() if line]


def shortened(command: str) -> str:
    """A command of a page with flags at its end that make it take seconds."""
    if "run training" in command:
        command += " --train#trainer#max_epochs 1"
    more = [flags for start, flags in FEWER.items() if f"wss_monai {start}" in command]
    more += [shlex.join(flags) for bundle, flags in SMALLER.items() if f"bundles/{bundle}" in command]
    return " ".join([command, *more])


def start(command: str) -> None:
    """Run a command of a page in this process."""
    assert command.startswith((OURS, BUNDLE)), f"neither ours nor MONAI's: {command}"
    words = shlex.split(shortened(command))[3:]
    if command.startswith(OURS):
        assert main(words) == 0, command
    else:
        fire.Fire({"run": monai.bundle.run}, command=words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_notebook_of_a_page_is_up_to_date(page):
    file = ROOT / "docs" / "notebooks" / f"{page.stem}.ipynb"
    assert file.read_text(encoding="utf-8") == MAKE["text_of"](page), "run `python docs/make_notebooks.py`"
    ran: list[str] = []
    for source in cells(page, "code")[1:]:
        exec(source, {"run": ran.append, "show": lambda picture: None})
    assert ran == commands(page)
    text = " ".join(re.sub(r"```sh.*?```", "", page.read_text(), flags=re.S).split())
    assert text.endswith(" ".join(" ".join(cells(page, "markdown")[1:]).split()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_cells_of_a_notebook_run(page, tmp_path, monkeypatch):
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    (tmp_path / "docs" / "notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "docs" / "notebooks")
    first, *others = cells(page, "code")
    shown: list[str] = []
    names: dict[str, Any] = {}
    exec(first, names)
    assert Path.cwd() == tmp_path  # where bundles is
    names |= {"run": start, "show": shown.append}
    try:
        for source in others:
            exec(source, names)
    finally:
        set_determinism(None)
    lines = commands(page)
    assert sum("run training" in line for line in lines) >= 2
    for written in re.findall(r"--(?:out|preview) (\S+)", "\n".join(lines)):
        path = tmp_path / written
        assert path.is_dir() or path.stat().st_size > 1000, written
    assert shown and all((tmp_path / picture).is_file() for picture in shown)


def test_a_command_that_fails_stops_the_cell(tmp_path, monkeypatch, capsys):
    (tmp_path / "bundles").mkdir()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(MAKE["FIRST"], names)
    names["run"]("python -c \"print('one')\"")
    assert capsys.readouterr().out.splitlines()[-1] == "one"
    with pytest.raises(RuntimeError, match="the command ended with 3"):
        names["run"]('python -c "raise SystemExit(3)"')


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_jupyter_runs_the_notebooks(page, tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    notebook = nbformat.reads(json.dumps(notebook_of(page)), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if page.stem == "two-circles":  # by processes, as for a reader
        settings = f"FEWER, SMALLER = {FEWER!r}, {SMALLER!r}\n{inspect.getsource(shortened)}"
        code[0].source += f"\n\n{settings}\ninner = run\ndef run(command):\n    inner(shortened(command))"
    else:  # in the kernel, in a sixth of the time
        code[0].source += f"\n\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nfrom test_tutorials import start as run"
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    assert all(cell.execution_count for cell in code)
    pictures = [out for cell in code for out in cell.outputs if {"image/png", "image/gif"} & {*out.get("data", {})}]
    assert len(pictures) == sum(cell.source.count("show(") for cell in code[1:])


def test_there_are_three_pages():
    assert [page.stem for page in PAGES] == ["acdc-size", "toy-discs", "two-circles"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_picture_of_a_page_is_there(page):
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page.read_text(), re.S):
        assert (page.parent / picture).is_file(), picture
