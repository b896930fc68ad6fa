# SPDX-License-Identifier: Apache-2.0
"""What a user does wrong gives one clear error, and leaves nothing behind that looks like a result."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from tiny import CONFIGS, ROOT, TINY, UNET_3D, command_here, command_line, make_dataset, workflow

from wss_monai.bundle.user_errors import find_user_error

MAPS = ("images", "labels", "scribbles")
TRAIN, TRAIN_3D = ("train.yaml",), ("train.yaml", "train_3d.yaml")
SMALL_3D = {"patch_size": [24, 24, 4], "window": "@patch_size", "pixdim": [2.0, 2.0, 8.0], "crop": [-1, -1, -1]}
SMALL_3D |= {"network_def": UNET_3D, "volume_bounds": {"LV": [0.1, 400]}}


# ---- how a data set is broken; every function gets its folder -------------------------------------------------------
def changed(**keys):
    """Change keys of dataset.json; None removes one."""

    def plant(folder):
        file = folder / "dataset.json"
        content = {**json.loads(file.read_text()), **keys}
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return plant


def changed_case(number=1, **keys):
    """The same for a training case; the second is p2."""

    def plant(folder):
        cases = json.loads((folder / "dataset.json").read_text())["training"]
        cases[number] = {key: value for key, value in {**cases[number], **keys}.items() if value is not None}
        changed(training=cases)(folder)

    return plant


def each_map(kind, change, only="p2"):
    """Write ``change(array)`` in the place of the volumes of a kind; it may give (array, affine)."""

    def plant(folder):
        for path in sorted((folder / kind).glob(f"{only}*.nii.gz")):
            volume = nib.load(path)
            made = change(np.asarray(volume.dataobj).copy())
            array, affine = made if isinstance(made, tuple) else (made, volume.affine)
            nib.save(nib.Nifti1Image(array, affine), path)

    return plant


def text(content):
    return lambda folder: (folder / "dataset.json").write_text(content)


def cut(kind, keep, patient="p2"):
    """Keep the first bytes of a patient's file."""

    def plant(folder):
        path = folder / kind / f"{patient}_ED.nii.gz"
        path.write_bytes(path.read_bytes()[:keep])

    return plant


def both(*plants):
    return lambda folder: [plant(folder) for plant in plants]


def nan(array):
    array = array.astype(np.float32)
    array[3, 4, 1] = np.nan
    return array


def without(value):
    """Nothing of this class in any map."""

    def drop(array):
        array[array == value] = 255
        return array

    return each_map("scribbles", drop, "p")


def replaced(old, new):
    return lambda array: np.where(array == old, np.uint8(new), array)


def one_slice(array):
    return array[..., :1]


everything_one_slice = both(*(each_map(kind, one_slice) for kind in MAPS))
unlabelled = each_map("scribbles", lambda a: np.full_like(a, 255), "p")
partial = {"mode": "partial"}

VOLUME = {"unit": "ml", "slice_axis": None, "tags_key": "tags", "values": {"LV": [0.1, 400]}}

FAULTS = {
    "no data set": (None, {"dataset_dir": "nowhere"}, "no data set folder 'nowhere'.*synthesize"),
    "wrong mode": (None, {"mode": "logbarier"}, "mode must be one of .* did you mean 'logbarrier'"),
    "misspelt override": (None, {"learning_rte": 1}, "'--learning_rte'; did you mean '--learning_rate'"),
    "misspelt nested override": (None, {"train#trainer#max_epoch": 3}, "did you mean '--train#trainer#max_epochs'"),
    "misspelt first part": (None, {"trian#trainer#max_epochs": 3}, "trian"),
    "shape": (each_map("scribbles", lambda a: a[:-1]), {}, "p2_ED.*shape.*resample"),
    "affine": (each_map("scribbles", lambda a: (a, np.diag([2, 2, 8, 1.0]))), {}, "p2_ED.*(affine|rotat)"),
    "values": (each_map("scribbles", replaced(3, 7)), {}, r"p2_ED.*\[7\].*weak_label.values"),
    "values of the dense label": (each_map("labels", replaced(3, 7)), {"mode": "full"}, r"p2_ED.*\[7\].*'labels'"),
    "not a number": (each_map("images", nan), {}, "p2_ED.*not finite"),
    "one slice in 3D": (everything_one_slice, SMALL_3D, "p2_ED.*single slice.*2D configuration"),
    "truncated": (cut("images", 400), {}, "p2_ED.nii.gz"),
    "empty": (cut("images", 0), {}, "p2_ED.nii.gz"),
    "4D": (each_map("images", lambda a: np.stack((a, a), -1)), {}, "p2_ED.*split a 4D file"),
    "no patient": (changed_case(patient=None), {}, "p2_ED.*no 'patient'.*name the person"),
    "missing image": (changed_case(image="images/gone.nii.gz"), {}, "p2_ED.*missing file 'images/gone.nii.gz'"),
    "not JSON": (text("{'name': "), {}, "dataset.json: not a JSON file"),
    "empty file": (text(""), {}, "dataset.json: not a JSON file"),
    "a list": (text("[]"), {}, "dataset.json: must hold a JSON object"),
    "lacks a key": (changed(labels=None), {}, r"dataset.json: missing \['labels'\]"),
    "no training cases": (changed(training=[]), {}, "dataset.json.*List cases"),
    "background alone": (
        changed(labels={"0": "background"}, weak_label={"kind": "scribble", "values": {"0": "background"}}),
        {"class_names": ["background"], "size_bounds": {}},
        "at least two different names",
    ),
    "no dense label": (
        both(*(changed_case(label=None, number=i) for i in range(3))),
        {"mode": "full"},
        "no labelled voxel",
    ),
    "oracle without dense label": (
        both(*(changed_case(label=None, number=i) for i in range(3))),
        {"bounds_from": "oracle"},
        "constraint 'size' has no bound.*bounds_from",
    ),
    "class without label": (without(3), partial, r"\['LV'\]"),
    "class without label and lower bound": (without(3), {"size_bounds": {"LV": [None, 6000]}}, r"\['LV'\]"),
    "class without dense label": (each_map("labels", replaced(3, 0), "p"), {"mode": "full"}, r"\['LV'\]"),
    "nothing labelled": (unlabelled, partial, "no labelled voxel"),
    "crossed bounds": (None, {"size_bounds": {"LV": [50, 10]}}, "LV.*cannot hold.*give"),
    "no room for the barrier": (None, {"size_bounds": {"LV": [50, 50]}}, "LV.*leave no room.*widen"),
    "more than the image": (None, {"size_bounds": {"LV": [1e6, 2e6]}}, "LV.*no 'size' on a grid"),
    "unknown class": (None, {"size_bounds": {"LW": [10, 20]}}, "LW"),
    "volume bound on slices": (
        None,
        {"bounds#choices#constant#unit": "ml", "bounds#choices#constant#slice_axis": None},
        "set tags_key to.* 'tags' for bounds on volumes",
    ),
    "volume bound on slices, with tags": (
        None,
        {f"bounds#choices#constant#{key}": value for key, value in VOLUME.items()},
        "volume_sampler",
    ),
}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt"]


def refuse(message, out, *files, folder, settings, kind="train"):
    """Run a bundle as a user does: one clear error, and no file of a result."""
    before = files_in(out)
    with pytest.raises(Exception) as caught:
        flow = workflow(*files, folder=folder, out=out, kind=kind, **settings)
        flow.initialize()
        flow.run()
    error = find_user_error(caught.value)
    assert isinstance(error, (ValueError, FileNotFoundError)), repr(error)
    assert re.search(message, str(error), re.DOTALL), str(error)
    assert files_in(out) == before


@pytest.mark.parametrize("fault", FAULTS)
def test_training_refuses_and_writes_nothing(fault, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plant, settings, message = FAULTS[fault]
    folder = dataset
    if plant is not None:
        folder = make_dataset(tmp_path / "data")
        plant(folder)
    files = TRAIN_3D if settings is SMALL_3D else TRAIN
    where = {} if "dataset_dir" in settings else {"dataset_dir": str(folder)}
    refuse(message, tmp_path / "run", *files, folder=folder, settings={**where, **settings})


EVALUATION_FAULTS = {
    "no checkpoint": (None, {"ckpt_path": "nowhere/model.pt"}, "nowhere/model.pt"),
    "wrong part": (None, {"evaluate_on": "tset"}, "evaluate_on must be one of.*did you mean 'test'"),
    "nothing to evaluate": (None, {"evaluate_on": "validation", "validation": 0}, "no case.*evaluate_on"),
    "one slice in 3D": (both(*(each_map(kind, one_slice, "p0") for kind in MAPS)), SMALL_3D, "p0_ED.*single slice"),
    "truncated": (cut("images", 400, "p0"), {}, "p0_ED.nii.gz"),
    "affine": (each_map("labels", lambda a: (a, np.diag([2, 2, 8, 1.0])), "p0"), {}, "p0_ED.*affine"),
    "values": (each_map("labels", replaced(3, 7), "p0"), {}, r"\[7\].*'labels'"),
    "not JSON": (text("{'name': "), {}, "dataset.json: not a JSON file"),
    "misspelt override": (None, {"ckpt_pth": "x"}, "did you mean '--ckpt_path'"),
}


def weights(path, *files, **settings):
    """Save random weights of a configuration's network."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / file) for file in files])
    for key, value in {**TINY, **settings}.items():
        if key.startswith("network_def"):
            parser[key] = value
    torch.save(parser.get_parsed_content("network_def").state_dict(), path)
    return str(path)


@pytest.mark.parametrize("fault", EVALUATION_FAULTS)
def test_evaluation_refuses_and_writes_nothing(fault, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plant, settings, message = EVALUATION_FAULTS[fault]
    folder = dataset
    if plant is not None:
        folder = make_dataset(tmp_path / "data")
        plant(folder)
    files = TRAIN_3D if settings is SMALL_3D else TRAIN
    settings = {"ckpt_path": weights(tmp_path / "model.pt", *files, **settings), **settings}
    refuse(message, tmp_path / "run", *files, "evaluate.yaml", folder=folder, settings=settings)


def test_class_without_label_is_learnt_from_a_lower_bound(run_bundle, tmp_path):
    folder = make_dataset(tmp_path / "data")
    without(3)(folder)
    for number in range(3):
        changed_case(number, slice_tags=[[-1, -1, -1, 1]] * 4)(folder)
    _, out = run_bundle(*TRAIN, folder=folder)
    assert (out / "model.pt").is_file()
    refuse(r"\['LV'\]", tmp_path / "other", *TRAIN, folder=folder, settings=partial)


CLI_FAULTS = {
    "misspelt override": (None, {"learning_rte": 0.1}, "unknown setting '--learning_rte'; did you mean"),
    "not JSON": (text("{'name': "), {}, "data/dataset.json: not a JSON file"),
    "empty": (cut("images", 0), {}, "case 'p2_ED': cannot read image "),
}


@pytest.mark.parametrize("fault", CLI_FAULTS)
def test_command_line_shows_the_error_alone(fault, tmp_path):
    """An empty file in a process of its own: threads that still read a case may abort it when it ends."""
    run = command_line if fault == "empty" else command_here
    plant, settings, message = CLI_FAULTS[fault]
    folder = make_dataset(tmp_path / "data")
    if plant is not None:
        plant(folder)
    config = "bundles/acdc_logbarrier/configs/train.yaml"
    settings = {**TINY, "dataset_dir": folder, "output_dir": tmp_path / "run", **settings}
    done = run("run", "training", "--config_file", config, **settings)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ") and message in last
    assert files_in(tmp_path / "run") == []


@pytest.mark.parametrize("fault", ["no weights", "empty image"])
def test_inference_ends_with_the_cause(fault, tmp_path):
    folder = make_dataset(tmp_path / "data") / "images"
    model = tmp_path / "model.pt"
    if fault == "empty image":
        weights(model, "train.yaml")
        (folder / "p0_ED.nii.gz").write_bytes(b"")
    small = {key: TINY[key] for key in TINY if key.startswith("network_def")}
    where = {"dataset_dir": folder, "ckpt_path": model, "output_dir": tmp_path / "out"}
    config = "bundles/acdc_logbarrier/configs/inference.yaml"
    done = command_here("run", "--config_file", config, **where, **small)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    if fault == "no weights":
        assert last == f"Error: FileNotFoundError: there is no {model}: train first, or set --ckpt_path"
    else:
        assert last.startswith("Error: ") and "p0_ED.nii.gz" in last
    assert files_in(tmp_path / "out") == []
