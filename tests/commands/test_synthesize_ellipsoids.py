# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np

from wss_monai.__main__ import main


def test_a_data_set_and_points_on_it(tmp_path, capsys):
    out, points = tmp_path / "dense", tmp_path / "points"
    assert main(["synthesize", "ellipsoids", "--out", str(out), "--patients", "2", "--seed", "3"]) == 0
    assert "1 training and 1 test patients, 3 volumes" in capsys.readouterr().out
    content = json.loads((out / "dataset.json").read_text())
    assert content["generator"]["command"] == "python -m wss_monai synthesize ellipsoids --patients 2 --seed 3"
    assert main(["check", str(out)]) == 0
    words = ["--strategy", "points", "--slice-axis", "none", "--background", "--option", "number=3"]
    words += ["--option", "radius=1", "--out", str(points)]
    assert main(["weaken", "--data", str(out), *words]) == 0
    assert main(["check", str(points)]) == 0
    content = json.loads((points / "dataset.json").read_text())
    assert content["weak_label"]["undrawn_means_absent"] is False  # most slices have no point
    for case in content["training"] + content["test"]:
        weak, dense = (np.asarray(nib.load(points / case[key]).dataobj) for key in ("weak_label", "label"))
        assert (weak[weak != 255] == dense[weak != 255]).all()
        for k in range(3):
            assert 19 <= (weak == k).sum() <= 3 * 19  # spots of three voxels' width, which may overlap


def test_a_folder_with_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("")
    assert main(["synthesize", "ellipsoids", "--out", str(tmp_path), "--patients", "1"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["synthesize", "ellipsoids", "--out", str(tmp_path), "--patients", "1", "--overwrite"]) == 0
    assert main(["synthesize", "ellipsoids", "--out", str(tmp_path / "none"), "--patients", "0"]) == 2
    assert "patients must be 1 or more" in capsys.readouterr().err
