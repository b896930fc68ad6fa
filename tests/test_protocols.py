# SPDX-License-Identifier: Apache-2.0
"""Published protocols: their patients, and each of them run on a few generated hearts with a tiny budget."""

from __future__ import annotations

import argparse
import builtins
import csv
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Resize
from this_process import run_module
from tiny import ROOT, make_dataset, run_workflow

from wss_monai.data import load_cases
from wss_monai.data.phantoms.cardiac import make_patient
from wss_monai.data.releases.acdc import prepare_acdc
from wss_monai.data.splits import read_split_file
from wss_monai.io.nifti_files import write_volume
from wss_monai.networks import DualDecoder

HEARTS = tuple(f"patient{n:03d}" for n in (99, 38, 50, 100, 84, 24, 64, 101, 91, 5, 28))
"""Some of each part of each protocol."""


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import run

    return run


@pytest.fixture
def protocols(benchmarks):
    import protocols

    return protocols


@pytest.fixture
def runner(benchmarks):
    import run_protocol

    return run_protocol


@pytest.fixture
def wsl4mis(benchmarks):
    import wsl4mis

    return wsl4mis


def patients(*numbers):
    return {f"patient{number:03d}" for number in numbers}


def test_lists_of_patients_are_disjoint_and_whole(protocols, runner):
    everybody = patients(*range(1, 101))
    whole = {"scribblebench_acdc.json": patients(*range(1, 151)), "maag35_acdc.json": None}
    for protocol in protocols.PROTOCOLS.values():
        for file, _ in protocol.parts.values():
            lists = runner.lists_of(read_split_file(protocols.SPLITS / file))
            listed = [patient for ids in lists.values() for patient in ids]
            assert len(listed) == len(set(listed)) and set(listed) <= patients(*range(1, 151))
            assert whole.get(file, everybody) in (set(listed), None)


def test_sizes_of_the_lists(protocols, runner):
    sizes = {
        (name, part): [len(ids) for ids in runner.lists_of(read_split_file(protocols.SPLITS / file)).values()]
        for name, protocol in protocols.PROTOCOLS.items()
        for part, (file, _) in protocol.parts.items()
    }
    assert sizes == {
        **{("wsl4mis", f"fold{k}"): [20] * 5 for k in range(1, 6)},
        ("maag", "35"): [35, 15, 15],
        ("maag", "70"): [70, 15, 15],
        ("ssl4mis", "3"): [70, 10, 20],
        ("ssl4mis", "7"): [70, 10, 20],
        ("scribblebench", "official"): [100, 50],
    }


def test_a_fold_of_wsl4mis_is_a_group_and_the_lists_of_maag_are_nested(protocols, runner):
    folds = read_split_file(protocols.SPLITS / "wsl4mis_acdc.json").folds
    assert {name: set(ids) for name, ids in folds.items()} == {
        f"fold{k}": patients(*range(20 * k - 19, 20 * k + 1)) for k in range(1, 6)
    }
    few, many = (read_split_file(protocols.SPLITS / f"maag{n}_acdc.json").parts for n in (35, 70))
    assert few["test"] == many["test"] and few["validation"] == many["validation"]
    assert many["training"][:35] == few["training"]
    assert set(few["test"]) == patients(5, 39, 77, 82, 78, 10, 64, 24, 30, 73, 80, 41, 36, 60, 72)


def test_one_image_annotated_twice_is_on_one_side(protocols, runner):
    for protocol in protocols.PROTOCOLS.values():
        for file, _ in protocol.parts.values():
            lists = runner.lists_of(read_split_file(protocols.SPLITS / file)).values()
            assert len([ids for ids in lists if runner.SAME_IMAGES & set(ids)]) == 1


def test_the_network_has_the_published_number_of_weights(wsl4mis):
    def weights(network):
        return sum(weight.numel() for weight in network.parameters())

    network = wsl4mis.WSL4MISUNet(4)
    assert weights(network) == 1_813_764  # of the released UNet(1, 4)
    assert weights(DualDecoder(network)) == 2_447_064  # of the released UNet_CCT(1, 4)
    shares = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout) and module.p]
    assert shares == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert network(torch.zeros(2, 1, 32, 48)).shape == (2, 4, 32, 48)


def test_slices_are_flipped_or_rotated_or_left(wsl4mis):
    augment = wsl4mis.RotateOrFlip(4)
    spacing = torch.tensor([[1.0, 2.0]]).repeat(400, 1)
    matrix, after = augment.draw(400, (5, 5), spacing, torch.Generator().manual_seed(0))
    linear = matrix[:, :2, :2]
    exact = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    left = (linear == exact).all(-1).all(-1)
    mirrored = torch.linalg.det(linear).sub(-1).abs() < 1e-9
    turned = ~left & ~mirrored
    assert 70 < left.sum() < 130 and 170 < mirrored.sum() < 230 and 70 < turned.sum() < 130
    degrees = torch.rad2deg(torch.acos(linear[turned, 0, 0]))
    assert degrees.max() <= 20.001 and len(degrees.round().unique()) > 10
    assert torch.equal(after[turned], spacing[turned].double()) or torch.equal(after[turned], spacing[turned])
    torch.testing.assert_close(linear[turned, 0, 1], -4 * linear[turned, 1, 0])  # a rotation in mm: -sin 2/1, sin 1/2
    swapped = (after[mirrored][:, 0] == 2).float().mean()
    assert 0.35 < swapped < 0.65
    centre = torch.tensor([2.0, 2.0, 1.0]).double()
    torch.testing.assert_close(matrix @ centre, centre.repeat(400, 1))


def test_a_squeezed_slice_comes_back_to_its_own_grid(protocols, tmp_path):
    squeezed, _, late = protocols.SQUEEZED
    square = [64, 64, -1]
    flow = run_workflow(
        "train.yaml", squeezed, "evaluate.yaml", late, folder=make_dataset(tmp_path / "data"), out=tmp_path / "out",
        execute=False, evaluate_on="training", keep_largest=False, pixdim=[-1.0, -1.0, -1.0], crop=square, field=square,
        window=square[:2], validation=0,
    )  # fmt: skip
    item, trained = (flow.parser.get_parsed_content(f"{part}#dataset")[0] for part in ("validate", "train"))
    assert item["image"].shape == (1, 64, 64, 4) and item["label"].shape == (1, 36, 34, 4)
    torch.testing.assert_close(item["image"].as_tensor(), trained["image"].as_tensor())
    assert item["image"].min() == 0 and item["image"].max() == 1
    small = Resize(square, mode="nearest-exact")(item["label"]).long()
    item["pred"] = torch.nn.functional.one_hot(small[0].as_tensor(), 4).movedim(-1, 0).float()
    found = flow.parser.get_parsed_content("validate#postprocessing")(item)["pred"]
    assert torch.equal(found.as_tensor().long(), item["label"].as_tensor().long())


def test_slices_of_a_volume_move_together_and_are_square(wsl4mis):
    augment, spacing = wsl4mis.RotateOrFlip(4), torch.ones(6, 2)
    matrix, _ = augment.draw(6, (8, 8), spacing, torch.Generator().manual_seed(1), torch.tensor([0, 1, 0, 1, 1, 0]))
    assert torch.equal(matrix[0], matrix[5]) and torch.equal(matrix[1], matrix[4])
    assert not torch.equal(matrix[0], matrix[1])
    with pytest.raises(ValueError, match=r"square slices, got the shape \(4, 5\)"):
        wsl4mis.RotateOrFlip(4).draw(1, (4, 5), torch.ones(1, 2), torch.Generator())


def test_hdf5_needs_h5py(wsl4mis, tmp_path, monkeypatch):
    (folder := tmp_path / "ACDC" / "ACDC_training_volumes").mkdir(parents=True)
    (folder / "patient001_frame01.h5").write_bytes(b"")
    real = builtins.__import__

    def without(name, *words, **more):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="need h5py: python -m pip install h5py"):
        wsl4mis.prepare_wsl4mis(tmp_path, tmp_path / "out")
    (folder / "patient001_frame01.h5").unlink()
    with pytest.raises(ValueError, match="has no ACDC_training_volumes"):
        wsl4mis.prepare_wsl4mis(tmp_path, tmp_path / "out")


def test_hdf5_becomes_a_data_set_in_voxels(wsl4mis, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py reads WSL4MIS' files")
    (folder := tmp_path / "ACDC_training_volumes").mkdir()
    label = np.zeros((2, 4, 3), np.uint8)
    label[1, 2, 0] = 3
    for name in ("patient090_frame04", "patient090_frame11"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["image"] = np.random.RandomState(int(name[-1])).rand(2, 4, 3).astype(np.float32)
            file["label"] = label
            file["scribble"] = np.where(label == 3, 3, 4).astype(np.uint16)
    done = wsl4mis.prepare_wsl4mis(tmp_path, tmp_path / "out")
    assert (done.training, done.cases, done.scribbles) == (1, 2, 2)
    first, second = json.loads((tmp_path / "out" / "dataset.json").read_text())["training"]
    assert (first["phase"], second["phase"], first["group"]) == ("ES", "ED", "RV")
    stored = nib.load(tmp_path / "out" / first["weak_label"])
    drawn = np.asarray(stored.dataobj)
    assert drawn.shape == (3, 4, 2) and drawn[0, 2, 1] == 3 and (drawn == 255).sum() == 23
    assert stored.header.get_zooms() == (1, 1, 1)


def release_of(folder: Path, names=HEARTS) -> tuple[Path, Path]:
    """An official release of tiny generated hearts, and scribbles."""
    for number, name in enumerate(names):
        heart = make_patient(np.random.RandomState(number), size=(48, 52), spacing=(5.0, 4.5, 25.0))
        part = folder / "acdc" / ("testing" if name > "patient100" else "training") / name
        for frame, volume in zip((1, 9), heart.phases.values(), strict=True):
            stem = f"{name}_frame{frame:02d}"
            write_volume(volume.image, heart.affine, part / f"{stem}.nii.gz")
            write_volume(volume.label, heart.affine, part / f"{stem}_gt.nii.gz")
            write_volume(volume.scribble, heart.affine, folder / "drawn" / f"{stem}.nii.gz")
        (part / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: NOR\n")
    return folder / "acdc", folder / "drawn"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return release_of(tmp_path_factory.mktemp("release"), HEARTS)


@pytest.fixture
def in_this_process(benchmarks, monkeypatch):
    """Trainings, evaluations and verbs, which a benchmark starts as processes, without any."""

    def start(line, cwd, **more):
        done = run_module(*map(str, line[2:]), cwd=Path(cwd))
        assert done.returncode == 0, done.stderr[-2000:]
        return done

    import grid

    def run_bundle(name, run_id, overlays, settings, threads, bundle):
        Path(str(settings["output_dir"])).mkdir(parents=True, exist_ok=True)
        start(grid.command(run_id, overlays, settings, bundle), ROOT)
        return 1.0

    monkeypatch.setattr(grid, "run_bundle", run_bundle)
    here = SimpleNamespace(run=lambda line, check, cwd: start(line, cwd))
    monkeypatch.setattr(benchmarks, "subprocess", here)


def test_the_published_rate_falls_with_each_iteration():
    """The overlay names its handler by number, which another handler before it would shift."""
    parser = ConfigParser()
    files = [ROOT / "bundles/acdc_logbarrier/configs/train.yaml", ROOT / "benchmarks/overlays/sgd_poly.yaml"]
    parser.read_config(ConfigParser.load_config_files([str(file) for file in files]))
    (changed,) = [handler for handler in parser["train#handlers"] if handler.get("epoch_level") is False]
    assert changed["_target_"] == "LrScheduleHandler"


SMOKE = {
    "wsl4mis": ["--parts", "fold5", "--arms", "partial"],
    "maag": ["--parts", "35", "--arms", "logbarrier"],
    "ssl4mis": ["--parts", "3", "--arms", "meanteacher"],
    "scribblebench": ["--arms", "partial"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOKE)
def test_each_protocol_runs_on_generated_hearts(benchmarks, in_this_process, release, tmp_path, monkeypatch, name):
    words = ["--protocol", name, *SMOKE[name], "--subset", "--iterations", "2", "--side", "32", "--seeds", "0"]
    where = ["--release", release[0], "--scribbles", release[1], "--data", tmp_path / "data", "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["run.py", "acdc", *words, *map(str, where), "--jobs", "1"])
    if name == "scribblebench":  # its network is for a GPU
        import protocols

        known = protocols.PROTOCOLS[name]
        small = dataclasses.replace(known, settings={**known.settings, "network_def#features": [4] * 6})
        monkeypatch.setitem(protocols.PROTOCOLS, name, small)
    benchmarks.main()
    with (tmp_path / "out" / "results.csv").open() as lines:
        row = next(csv.DictReader(lines))
    assert row["arm"] == SMOKE[name][-1] and row["fold"] == (SMOKE[name][1] if "--parts" in SMOKE[name] else "official")
    assert 0 <= float(row["dice"]) <= 1 and float(row["hd95_medpy"]) >= 0


def options(**changed):
    known = {"protocol": "wsl4mis", "parts": None, "release": None, "scribbles": None, "iterations": None, "side": None}
    known |= {"arms": None, "tune": False, "subset": False, "dry_run": True, "data": Path("data/ACDC"), "seeds": [0, 1]}
    return argparse.Namespace(**{**known, **changed})


def test_a_dry_run_names_patients_settings_and_commands(benchmarks, protocols, runner, tmp_path):
    chosen = options(parts=["fold1", "fold4"], release=tmp_path / "acdc.zip", arms=["partial", "quadratic"])
    arms = runner.arms_under(chosen, benchmarks.EXPERIMENTS["acdc"])
    said = runner.told(chosen, runner.parts_of(chosen, arms, tmp_path)).splitlines()
    commands = [line for line in said if "monai.bundle" in line]
    assert len(commands) == 2 * 2 * 2 * 2  # parts, arms, seeds, training and evaluation
    assert "--learning_rate 0.03" in commands[0] and "--mode partial" in commands[0] and "--fold fold1" in commands[0]
    assert "--learning_rate 0.01" in commands[4] and "--iterations 60000" in commands[4]
    assert not any("cpu.yaml" in line for line in commands)
    assert "squeezed_evaluate.yaml" not in commands[0] and "squeezed_evaluate.yaml" in commands[1]
    assert any("prepare acdc" in line for line in said)
    with pytest.raises(ValueError, match="wsl4mis has no fold9; it has fold1"):
        runner.parts_of(options(parts=["fold9"]), arms, tmp_path)
    with pytest.raises(ValueError, match="no uda; there are full, partial"):
        runner.arms_under(options(arms=["uda"]), benchmarks.EXPERIMENTS["acdc"])
    assert list(runner.arms_under(options(protocol="ssl4mis", arms=["uda"]), benchmarks.EXPERIMENTS["acdc"])) == ["uda"]


def test_who_is_missing_is_named_unless_a_subset_is_wanted(protocols, runner, release, tmp_path):
    prepare_acdc(release[0], tmp_path / "data", scribbles=release[1])
    file = protocols.SPLITS / "wsl4mis_acdc.json"
    with pytest.raises(ValueError, match=r"lacks 9\d patients .*--subset"):
        runner.resolved_split(file, tmp_path / "data", False, tmp_path / "out")
    split, said = runner.resolved_split(file, tmp_path / "data", True, tmp_path / "out")
    assert read_split_file(split).folds["fold5"] == ["patient084", "patient091", "patient099", "patient100"]
    assert "without 90 patients" in said


def test_the_twin_who_is_kept_once_is_left_out(protocols, runner, tmp_path):
    listed = [{"patient": f"patient{n:03d}", "case": f"c{n}", "image": "i.nii.gz"} for n in range(1, 101) if n != 76]
    (tmp_path / "i.nii.gz").write_bytes(b"never opened")
    content = {"name": "ACDC", "labels": {"0": "background", "1": "RV"}, "training": listed}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    for name in ("wsl4mis_acdc.json", "maag70_acdc.json", "ssl4mis_acdc.json"):
        before = read_split_file(protocols.SPLITS / name)
        split, said = runner.resolved_split(protocols.SPLITS / name, tmp_path, False, tmp_path / name)
        after = read_split_file(split)
        assert said.startswith("without 1 patients") and after.labelled == before.labelled
        gone = {p for ids in runner.lists_of(before).values() for p in ids}
        assert gone - {p for ids in runner.lists_of(after).values() for p in ids} == {"patient076"}


def test_few_patients_are_drawn_by_the_seed_from_those_who_are_trained_on(benchmarks, tmp_path):
    data = make_dataset(tmp_path / "data", patients=8)
    folds = {"fold1": ["p0", "p1"], "fold2": ["p2", "p3"], "fold3": ["p4", "p5", "p6", "p7"]}
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"patients": [f"p{n}" for n in range(8)], "test": folds}))
    common = {"dataset_dir": data, "split": split, "fold": "fold1", "validation": "fold2"}
    drawn = set()
    for seed in range(4):
        benchmarks.label_efficiency.few_patients(2, common, seed, tmp_path / "few" / f"{seed}.json")
        cases = load_cases(str(data), split=tmp_path / "few" / f"{seed}.json", fold="fold1", validation="fold2")
        patients = [{case["patient"] for case in part} for part in (cases.training, cases.validation, cases.test)]
        assert patients[0] < set(folds["fold3"]) and patients[1:] == [set(folds["fold2"]), set(folds["fold1"])]
        assert len({int(patient[1]) % 2 for patient in patients[0]}) == 2  # one of each group
        drawn.add(frozenset(patients[0]))
    assert len(drawn) > 1
