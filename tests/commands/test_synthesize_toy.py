# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main, make_parser


def test_toy_is_written_and_a_folder_in_use_is_refused(tmp_path, capsys):
    out = tmp_path / "TOY"
    words = ["synthesize", "toy", "--out", str(out), "--images", "2", "1", "--size", "40", "30", "--radius", "8"]
    assert main(words) == 0
    assert "dataset.json: 2 training and 1 validation pictures, seed 0" in capsys.readouterr().out
    assert len(json.loads((out / "dataset.json").read_text())["training"]) == 3
    before = (out / "images/val_0000.nii.gz").read_bytes()
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "--out" in message and str(out) in message and "--overwrite" in message
    assert main([*words, "--overwrite"]) == 0
    assert (out / "images/val_0000.nii.gz").read_bytes() == before
    assert main([*words, "--overwrite", "--seed", "1"]) == 0
    assert (out / "images/val_0000.nii.gz").read_bytes() != before


def test_the_command_in_dataset_json_makes_the_same_files(tmp_path):
    size = ["--size", "30", "20", "--radius", "4", "--images", "1", "1"]
    assert main(["synthesize", "two-circles", "--out", str(tmp_path / "a"), *size, "--seed", "3", "--ellipses"]) == 0
    words = json.loads((tmp_path / "a/dataset.json").read_text())["generator"]["command"].split()[3:]
    assert main([*words, "--out", str(tmp_path / "b")]) == 0
    for file in ("dataset.json", "split.json", "images/train_0000.nii.gz", "points/val_0000.nii.gz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_edition_of_2019_has_a_larger_weak_disc(tmp_path):
    drawn = []
    for edition in ("2019", "2022"):
        words = ["--images", "1", "0", "--size", "128", "120", "--radius", "50", "--edition", edition]
        assert main(["synthesize", "toy", "--out", str(tmp_path / edition), *words]) == 0
        weak = nib.load(tmp_path / edition / "points/train_0000.nii.gz")
        drawn.append(int((np.asarray(weak.dataobj) == 1).sum()))
    assert drawn == [317, 97]


def test_png(tmp_path, capsys):
    out = tmp_path / "PNG"
    words = ["--images", "1", "1", "--size", "40", "30", "--radius", "8", "--format", "png"]
    assert main(["synthesize", "two-circles", "--out", str(out), *words]) == 0
    assert f"{out}: 1 training" in capsys.readouterr().out
    assert (out / "val/weak/0000.png").is_file()


def test_defaults_are_the_published_numbers():
    parse = make_parser().parse_args
    toy, circles = (parse(["synthesize", kind, "--out", "x"]) for kind in ("toy", "two-circles"))
    assert [tuple(a.images) for a in (toy, circles)] == [(10, 10), (1000, 100)]
    assert [tuple(a.size) for a in (toy, circles)] == [(256, 256), (256, 256)]
    assert [a.radius for a in (toy, circles)] == [50, 25] and [a.seed for a in (toy, circles)] == [0, 0]


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("toy", ["--size", "90", "256"], "size 90 x 256 is too small for discs of radius 50"),
        ("toy", ["--images", "0", "5"], "images must be 1 or more"),
        ("toy", ["--seed", "-2"], "seed must be 0 or more, got -2"),
        ("two-circles", ["--radius", "0"], "radius must be 1 pixel or more, got 0"),
    ],
)
def test_numbers_that_make_no_picture_are_refused_and_nothing_is_written(tmp_path, capsys, kind, words, message):
    assert main(["synthesize", kind, "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["synthesize", "toy", "--out", str(tmp_path / "file")]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["toy", "--edition", "2020"], ["two-circles", "--edition", "2019"],
                                   ["toy", "--format", "jpg"], ["toy", "--images", "10"]])  # fmt: skip
def test_options_that_there_are_not(tmp_path, words):
    with pytest.raises(SystemExit):
        main(["synthesize", *words, "--out", str(tmp_path / "out")])
