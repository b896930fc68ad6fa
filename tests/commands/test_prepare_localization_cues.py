# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import pickle

import numpy as np

from wss_monai.__main__ import main


class Shell:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def prepare(folder, content, *more):
    (folder / "cues.pickle").write_bytes(pickle.dumps(content, 2))
    source, out = str(folder / "cues.pickle"), str(folder / "out")
    return main(["prepare", "localization-cues", "--source", source, "--out", out, *more])


def test_cues_become_maps(tmp_path, capsys):
    content = {"0_labels": np.array([3]), "0_cues": np.array([[0, 3], [1, 2], [3, 50]])}
    (tmp_path / "list.txt").write_text("a.jpg 0\nb.jpg 1\n")
    assert prepare(tmp_path, content, "--list", str(tmp_path / "list.txt"), "--grid", "51", "41") == 0
    said = capsys.readouterr().out
    assert "left out, no cues: 1 (b)" in said and "cues of 1 images; 1 notes" in said
    described = json.loads((tmp_path / "out" / "cues.json").read_text())
    assert described["grid"] == [51, 41] and described["images"]["a"]["tags"] == [3]


def test_a_hostile_file_is_refused_in_one_line(tmp_path, capsys):
    assert prepare(tmp_path, {"0_labels": Shell(f"touch '{tmp_path / 'ran'}'")}) == 2
    said = capsys.readouterr().err
    assert said.startswith("wss_monai prepare: error: ") and said.count("\n") == 1
    assert ".system'" in said and "refused" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cues.pickle"]
