# SPDX-License-Identifier: Apache-2.0
"""`prepare png-masks` on made-up photographs in the layout of Pascal VOC, and Seed, Expand, Constrain on them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import ROOT, run_workflow

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.releases.png_masks import CLASSES
from wss_monai.transforms import LoadCased

NAMES = [f"2007_{number:06d}" for number in range(5)]
PALETTE = np.random.RandomState(0).randint(0, 256, 768).tolist()


def photograph(folder: Path, name: str, classes: tuple[int, ...], size: tuple[int, int] = (40, 36)) -> np.ndarray:
    """A JPEG with a square for each class, its palette mask with a rim of 255; gives the mask (rows, columns)."""
    columns, rows = size
    seed = NAMES.index(name) if name in NAMES else 99
    mask = np.zeros((rows, columns), np.uint8)
    for place, k in enumerate(classes):
        mask[4:16, 4 + 16 * place : 16 + 16 * place] = 255
        mask[6:14, 6 + 16 * place : 14 + 16 * place] = k
    colours = np.random.RandomState(seed).randint(0, 60, (rows, columns, 3)) + (mask[..., None] % 25) * [7, 3, 5]
    for kind in ("JPEGImages", "SegmentationClass"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(folder / "JPEGImages" / f"{name}.jpg")
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette(PALETTE)
    picture.save(folder / "SegmentationClass" / f"{name}.png")
    return mask


@pytest.fixture
def voc(tmp_path) -> Path:
    root = tmp_path / "VOC2012"
    for name, classes in zip(NAMES, [(1, 20), (15,), (1,), (8, 15), (20,)], strict=True):
        photograph(root, name, classes)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(NAMES[:4]) + "\n")
    (lists / "val.txt").write_text(f"{NAMES[4]}\n")
    return root


def prepare(source: Path, out: Path, *words: str) -> int:
    return main(["prepare", "png-masks", "--source", str(source), "--out", str(out), *words])


LISTS = ("--lists", "ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt")


def test_photographs_become_cases_of_three_colours_and_21_classes(voc, tmp_path, capsys):
    assert prepare(voc, tmp_path / "data", *LISTS) == 0
    assert "4 training and 1 test pictures of 21 classes" in capsys.readouterr().out
    dataset = read_dataset(tmp_path / "data")
    assert dataset.class_names == CLASSES["voc"] and len(dataset.class_names) == 21
    case = dataset.training[0]
    assert [k for k, tag in enumerate(case["slice_tags"][0]) if tag] == [0, 1, 20]
    mask = np.asarray(Image.open(voc / "SegmentationClass" / f"{NAMES[0]}.png"))
    stored = nib.load(tmp_path / "data" / case["label"])
    dense, known = np.asarray(stored.dataobj)[..., 0], mask.T != 255
    assert np.array_equal(dense[known], mask.T[known]) and (~known).any()
    assert dense[5, 9] == 1 and dense[4, 4] == 0  # of the rim, the inner half belongs to the thing
    loaded = LoadCased(["image", "label"], spatial_dims=2)(
        load_cases(tmp_path / "data", CLASSES["voc"], validation=0).training[0]
    )
    picture = np.asarray(Image.open(voc / "JPEGImages" / f"{NAMES[0]}.jpg").convert("RGB"))
    assert torch.equal(loaded["image"][..., 0], torch.from_numpy(picture.transpose(2, 1, 0).astype(np.float32)))
    assert set(loaded["label"].unique().tolist()) == {0, 1, 20}


def test_81_classes_of_coco_and_names_of_ones_own(voc, tmp_path):
    assert len(CLASSES["coco"]) == len(set(CLASSES["coco"])) == 81
    photograph(voc, NAMES[0], (80,))
    assert prepare(voc, tmp_path / "coco", "--classes", "coco") == 0
    assert read_dataset(tmp_path / "coco").training[0]["slice_tags"][0][80] == 1
    names = [f"thing {k}" for k in range(1, 21)]
    (tmp_path / "names.txt").write_text("\n".join(["background", *names]))
    photograph(voc, NAMES[0], (3,))
    assert prepare(voc, tmp_path / "own", "--classes", str(tmp_path / "names.txt")) == 0
    assert read_dataset(tmp_path / "own").class_names == ["background", *names]


def test_pictures_that_do_not_fit_are_skipped_by_name(voc, tmp_path, capsys):
    Image.new("RGB", (40, 36)).save(voc / "SegmentationClass" / f"{NAMES[0]}.png")
    photograph(voc, NAMES[1], (21,))
    Image.new("L", (3, 3)).save(voc / "SegmentationClass" / f"{NAMES[2]}.png")
    (voc / "JPEGImages" / f"{NAMES[3]}.jpg").write_bytes(b"no picture")
    photograph(voc, "twice", (1,))
    Image.new("RGB", (40, 36)).save(voc / "JPEGImages" / "twice.png")
    assert prepare(voc, tmp_path / "data") == 1
    said = " ".join(capsys.readouterr())
    for text in (
        "colours (RGB)",
        "holds the values 21, but there are 21 classes",
        "its mask has (3, 3)",
        "cannot be read",
        "it has several pictures: twice.jpg, twice.png",
    ):
        assert text in said
    assert [case["case"] for case in read_dataset(tmp_path / "data").training] == [NAMES[4]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "img"], "holds no folders 'img' and 'SegmentationClass' side by side"),
        (["--lists", "ImageSets/Segmentation/none.txt"], "list '.*none.txt' does not exist"),
        (["--lists", *LISTS[1:], "ImageSets/trainval.txt"], "leak: '2007_000004' is in lists of training and of test"),
        (["--classes", "names.txt"], "--classes 'names.txt' does not exist"),
        (["--classes", "bytes/train.txt"], "--classes: 'bytes/train.txt' is no text file in UTF-8"),
        (["--classes", "bytes/half.json"], "--classes: 'bytes/half.json' is not JSON"),
        (["--lists", "bytes/train.txt"], "--lists: '.*train.txt' is no text file in UTF-8"),
        (["--lists", "bytes/val.txt"], r"--lists: no name stands in \['bytes/val.txt'\]"),
    ],
)
def test_refusals(voc, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(voc)
    (voc / "ImageSets" / "trainval.txt").write_text(f"{NAMES[4]}\n")
    (voc / "bytes").mkdir()
    for name, content in (("train.txt", b"\xff\xfe\x00"), ("half.json", b'["background"'), ("val.txt", b"\n")):
        (voc / "bytes" / name).write_bytes(content)
    assert prepare(voc, tmp_path / "data", *words) != 0
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "data").exists()


def all_classes(folder: Path, name: str, seed: int) -> None:
    """A picture with a square of 8 x 8 pixels of each of the 20 classes, in another order for each seed."""
    R = np.random.RandomState(seed)
    mask = np.zeros((33, 41), np.uint8)
    mask[:32, :40] = np.kron(R.permutation(np.arange(1, 21)).reshape(4, 5), np.ones((8, 8)))
    mask[:32:8, :40], mask[:32, :40:8] = 0, 0
    colours = np.stack([mask * 12, 255 - mask * 9, mask * 5], -1) + R.randint(0, 10, (33, 41, 3))
    for kind, picture in (
        ("img", Image.fromarray(colours.clip(0, 255).astype(np.uint8))),
        ("gt", Image.fromarray(mask)),
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture.save(folder / kind / f"{name}.png")


def test_seed_expand_constrain_on_photographs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for number in range(4):
        all_classes(tmp_path / "photos", f"p{number}", number)
    (tmp_path / "photos" / "train.txt").write_text("p0\np1\np2\n")
    (tmp_path / "photos" / "val.txt").write_text("p3\n")
    folders = ("--images", "img", "--masks", "gt", "--lists", "train.txt", "val.txt")
    assert prepare(tmp_path / "photos", tmp_path / "dense", *folders) == 0
    assert main(["check", str(tmp_path / "dense")]) == 0
    words = ["weaken", "--data", str(tmp_path / "dense"), "--out", str(tmp_path / "cues"), "--background"]
    assert main([*words, "--strategy", "random_blob"]) == 0
    tiny = {"crop": [41, 33, -1], "window": [41, 33], "network_def#width": 2, "network_def#hidden": 4}
    tiny |= {"network_def#dilation": 1, "iterations": "null", "train#trainer#max_epochs": 1, "batch_size": 2}
    tiny |= {"validation": 1, "val_interval": 1, "device": "$torch.device('cpu')"}
    files = ("train.yaml", "published.yaml", "photographs.yaml")
    settings = {"bundle": "acdc_sec", "tiny": tiny, "folder": tmp_path / "cues", "out": tmp_path / "run"}
    run_workflow(*files, **settings)
    run_workflow(*files, "evaluate.yaml", **settings)
    summary = json.loads((tmp_path / "run" / "metrics_summary.json").read_text())
    assert len(summary["confusion"]) == 21 and summary["n_volumes"] == 1
