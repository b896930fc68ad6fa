# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/how-to/windows.md mean the same in every shell, and run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from test_docs import blocks
from this_process import restored_logging, restored_torch
from tiny import ROOT

from wss_monai.__main__ import main
from wss_monai.commands.words import json_or_file

sys.path.append(str(Path(__file__).resolve().parent / "planning"))
from test_plan import make_data

PAGE = ROOT / "docs" / "how-to" / "windows.md"


def lines() -> list[str]:
    return [line for block in blocks(PAGE, "sh") for line in block.splitlines() if line]


def test_no_command_needs_a_shell():
    for line in [*lines(), *"".join(blocks(PAGE, "powershell")).splitlines()]:
        assert re.fullmatch(r"[\w./\\ -]+", line), line


def test_no_other_page_has_an_array_of_bash():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("bundles/*/docs/*.md")]:
        assert not re.search(r"=\(--|\[@\]", "".join(blocks(page, "sh"))), page


@pytest.mark.slow
def test_the_commands_run_as_they_stand(tmp_path, monkeypatch):
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data" / "MINE", patients=3, shape=(60, 40, 5), spacing=(2.0, 2.0, 8.0))
    image = json.loads((tmp_path / "data" / "MINE" / "dataset.json").read_text())["training"][0]["image"]
    (tmp_path / "data" / "NEW").mkdir()
    (tmp_path / "data" / "NEW" / "new.nii.gz").write_bytes((tmp_path / "data" / "MINE" / image).read_bytes())
    for name, body in zip(("training", "evaluating"), blocks(PAGE, "yaml"), strict=True):
        (tmp_path / f"{name}.yaml").write_text(body)
    for line in lines():
        words = line.removeprefix("wss-monai ").split()
        with restored_logging(), restored_torch():
            assert main([*words, "--device", "cpu"] if words[0] == "plan" else words) == 0, line
        if words[0] == "plan":
            settings = yaml.safe_load((tmp_path / "mine.yaml").read_text())
            small = {"network_def#features": [4] * 6, "iterations": 2, "device": "cpu", "validation": 1}
            (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings | small))
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    assert len(list((tmp_path / "predictions").glob("*.nii.gz"))) == 1


def test_json_may_stand_in_a_file(tmp_path, capsys):
    (tmp_path / "labels.json").write_text('{"0": "background", "1": "LV"}')
    (tmp_path / "p1.nii").write_bytes(b"not opened")
    words = ["prepare", "folder", "--source", str(tmp_path), "--image", r"(?P<patient>p\d+)\.nii", "--labels"]
    with pytest.raises(SystemExit):
        main(["bounds", "--fit", str(tmp_path), "--constant", str(tmp_path / "no.json")])
    assert "there is no file" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "no.json")]) == 2
    assert "--labels: there is no file" in capsys.readouterr().err
    assert (
        json_or_file(str(tmp_path / "labels.json"))
        == {"0": "background", "1": "LV"}
        == json_or_file((tmp_path / "labels.json").read_text())
    )
