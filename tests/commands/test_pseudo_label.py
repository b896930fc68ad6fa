# SPDX-License-Identifier: Apache-2.0
"""From the tags of slices to pseudo-labels in one command, and from those to a segmentation network in another."""

from __future__ import annotations

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import ROOT, workflow

from wss_monai.__main__ import main
from wss_monai.commands.pseudo_label import parse_settings
from wss_monai.data.schema import read_dataset

CONFIGS = ROOT / "bundles" / "prostate_cross_modality" / "configs"
TRAIN = str(CONFIGS / "train.yaml")
TINY = {
    "pixdim": "[6.0, 6.0, -1.0]",
    "crop": "[16, 16, -1]",
    "window": "[16, 16]",
    "network_def#channels": "[4, 8]",
    "batch_size": "8",
    "train#trainer#max_epochs": "1",
    "validation": "1",
    "mode": "equivariant",
    "device": "$torch.device('cpu')",
}
SEGMENTATION = {
    "pixdim": [6.0, 6.0, -1.0],
    "crop": [32, 32, -1],
    "field": [32, 32, -1],
    "window": [32, 32],
    "network_def#in_channels": 2,
    "network_def#features": [4, 4, 4, 4, 4, 4],
    "batch_size": 8,
    "train#trainer#max_epochs": 1,
    "validation": 1,
    "device": "$torch.device('cpu')",
}


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """Three patients to train and one to test: images and the tags of slices, no dense label anywhere."""
    folder = tmp_path_factory.mktemp("tagged") / "data"
    words = ["--zones", "none", "--size", "32", "--patients", "4", "--out", str(folder)]
    assert main(["synthesize", "prostate", *words]) == 0
    content = json.loads((folder / "dataset.json").read_text())
    for case in content["training"] + content["test"]:
        del case["label"]
    content["training"][0]["slice_tags"][0] = [1, -1]
    (folder / "dataset.json").write_text(json.dumps(content))
    shutil.rmtree(folder / "labels")
    return folder


def pseudo_label(data, out, run, *words, **settings):
    pairs = [word for key, value in {**TINY, **settings}.items() for word in ("--set", f"{key}={value}")]
    named = ["--data", str(data), "--out", str(out), "--config-file", TRAIN, "--run", str(run)]
    return main(["pseudo-label", *named, *pairs, *words])


@pytest.fixture(scope="module")
def trained(tagged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak")
    assert pseudo_label(tagged, folder / "out", folder / "run") == 0
    return folder


def weak(out, case):
    return np.asarray(nib.load(out.file_of(case, "weak_label")).dataobj)


def test_two_commands_from_tags_to_a_segmentation_network(tagged, trained, tmp_path, monkeypatch, capsys):
    old, new = read_dataset(tagged), read_dataset(trained / "out")
    assert new.weak_kind == "cam" and not new.undrawn_means_absent
    assert new.raw["weak_label"]["made_with"]["foreground_fraction"] == 0.6
    assert [case["case"] for case in new.training] == [case["case"] for case in old.training]
    for case in new.training:
        assert "label" not in case and case["slice_tags"] == old_tags(old, case)
        image, index = nib.load(new.file_of(case, "image")[0]), weak(new, case)
        assert index.shape == image.shape and index.dtype == np.uint8 and set(np.unique(index)) <= {0, 1, 255}
        assert np.allclose(nib.load(new.file_of(case, "weak_label")).affine, image.affine, atol=1e-4)
        for tag, piece in zip(np.array(case["slice_tags"])[:, 1], np.moveaxis(index, 2, 0), strict=True):
            if tag == 0:
                assert (piece == 0).all()
            else:
                assert tag == -1 or (piece == 1).any() or (piece == 255).all()
                edge = np.concatenate((piece[0], piece[-1], piece[:, 0], piece[:, -1]))
                assert (edge == 255).all()  # outside of the field that the networks look at
    (test,) = new.test
    assert "weak_label" not in test and new.weak_of(test).kind == "nothing"
    assert main(["check", str(trained / "out")]) == 0

    monkeypatch.chdir(ROOT)
    flow = workflow(
        "train.yaml", folder=trained / "out", out=tmp_path, bundle="promise12_logbarrier", tiny=SEGMENTATION
    )
    flow.initialize()
    flow.run()
    row = list(csv.DictReader((tmp_path / "metrics.csv").open()))[-1]
    assert (tmp_path / "model.pt").is_file() and all(np.isfinite(float(row[f"loss_{n}"])) for n in ("partial", "size"))
    assert json.loads((tmp_path / "run.json").read_text())["patients"]["test"] == [test["patient"]]


def old_tags(old, case):
    return next(entry["slice_tags"] for entry in old.training if entry["case"] == case["case"])


def test_networks_that_are_there_are_used_as_they_are(tagged, trained, tmp_path, capsys):
    before = (trained / "run" / "model.pt").read_bytes()
    thresholds = ["--foreground", "0.9", "--background", "0.85"]
    assert pseudo_label(tagged, tmp_path / "out", trained / "run", *thresholds, minimum_cues=0) == 0
    said = capsys.readouterr().out
    assert "the networks are trained already" in said and "training on" not in said
    assert (trained / "run" / "model.pt").read_bytes() == before
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line}
    first, second = read_dataset(trained / "out"), read_dataset(tmp_path / "out")
    made = [np.concatenate([weak(d, case).ravel() for case in d.training]) for d in (first, second)]
    for value, name in ((0, "background"), (1, "prostate"), (255, "unlabelled")):
        assert int(rows[name][2]) == (made[1] == value).sum()
    assert (made[1] == 1).sum() < (made[0] == 1).sum()
    assert "evaluation only" not in said and "--network_def#in_channels 2" in said


def test_an_interrupted_training_is_continued(tagged, trained, tmp_path, capsys):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save({**state, "max_epochs": 2}, run / "checkpoint.pt")
    assert pseudo_label(tagged, tmp_path / "out", run, **{"train#trainer#max_epochs": 2}) == 0
    assert "stopped after epoch 1: continuing it to 2" in capsys.readouterr().out
    assert len(list(csv.DictReader((run / "metrics.csv").open()))) == 2
    assert torch.load(run / "checkpoint.pt", weights_only=True)["epoch"] == 2


def test_networks_of_other_patients_are_refused(tagged, trained, tmp_path, capsys):
    split = tmp_path / "split.json"
    patients = [case["patient"] for case in read_dataset(tagged).training]
    split.write_text(json.dumps({"test": {"a": patients[:1], "b": patients[1:]}}))
    assert pseudo_label(tagged, tmp_path / "out", trained / "run", split=str(split), fold="a") == 2
    said = capsys.readouterr().err
    assert f"was trained with 1 patients who are not for training here ({patients[0]})" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foreground", "0.2", "--background", "0.3"], "foreground must be larger than background, got 0.2 and 0.3"),
        (["--set", "learning_rte=1"], "did you mean '--learning_rate'?"),
        (["--set", "mode=cross_modalty"], "did you mean 'cross_modality'?"),
        (["--set", "output_dir=x"], "--set output_dir: use --run"),
        (["--config-file", "there_is_none.yaml"], "there is no file 'there_is_none.yaml'"),
    ],
)
def test_wrong_words(tagged, tmp_path, words, message, capsys):
    assert pseudo_label(tagged, tmp_path / "out", tmp_path / "run", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "run" / "model.pt").exists()


def test_wrong_files_and_folders(tagged, trained, tmp_path, capsys):
    words = ["pseudo-label", "--data", str(tagged), "--out"]
    with pytest.raises(SystemExit):
        main([*words, str(tmp_path / "out")])
    assert "arguments are required: --config-file" in capsys.readouterr().err
    other = str(ROOT / "bundles" / "promise12_logbarrier" / "configs" / "train.yaml")
    assert main([*words, str(tmp_path / "out"), "--config-file", other]) == 2
    assert "there is no cues.yaml beside" in capsys.readouterr().err
    assert pseudo_label(tagged, trained / "out", trained / "run") == 2
    assert "holds a dataset.json already" in capsys.readouterr().err
    assert pseudo_label(tmp_path, tmp_path / "out", trained / "run") == 2


def test_the_words_of_weaken_still_do(tagged, trained, tmp_path, capsys):
    words = ["--strategy", "cam", "--data", str(tagged), "--out", str(trained / "out"), "--config_file", TRAIN]
    assert main(["weaken", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "'weaken --strategy cam' is now 'pseudo-label'" in said[0]
    assert said[1].startswith("wss_monai pseudo-label: error: --out: ") and "holds a dataset.json already" in said[1]


def test_weaken_has_none_of_its_options(tagged, tmp_path, capsys):
    words = ["weaken", "--strategy", "points", "--data", str(tagged), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main([*words, "--foreground", "0.6"])
    assert "unrecognized arguments: --foreground 0.6" in capsys.readouterr().err


def test_settings_are_read_as_yaml():
    words = [
        "a=1",
        "b#c=[1, x]",
        "d=1e-3",
        "e=cam",
        "f=null",
        "g=$torch.device('cpu')",
        "h=@a",
        "i=.5",
        "j=2d",
        "k=a=b",
    ]
    assert parse_settings(words) == {
        "a": 1,
        "b#c": [1, "x"],
        "d": 0.001,
        "e": "cam",
        "f": None,
        "g": "$torch.device('cpu')",
        "h": "@a",
        "i": 0.5,
        "j": "2d",
        "k": "a=b",
    }
    for word, message in (("a", "must be KEY=VALUE"), ("=1", "must be KEY=VALUE"), ("a=[1", "is no YAML")):
        with pytest.raises(ValueError, match=message):
            parse_settings([word])
