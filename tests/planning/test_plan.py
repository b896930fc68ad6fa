# SPDX-License-Identifier: Apache-2.0
"""The settings of a first training: chosen by spacing, labels and number of patients, and taken by the bundles."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from monai.bundle import ConfigWorkflow
from tiny import ROOT

from wss_monai.__main__ import main
from wss_monai.data import read_dataset
from wss_monai.planning import make_plan, plan_text, read_facts
from wss_monai.planning.text import commands

NAMES = {"0": "background", "1": "organ"}


def write(folder: Path, name: str, array: np.ndarray, spacing: tuple[float, ...]) -> str:
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), folder / name)
    return name


def make_data(
    folder: Path, patients: int = 6, shape=(60, 40, 8), spacing=(2.0, 2.0, 8.0), kind: str | None = "scribble",
    dense: bool = False, images: int = 1, pieces: int = 1, organ: str = "organ",
) -> Path:  # fmt: skip
    """A box of 20 x 10 x 4 voxels off the centre of each volume, drawn by a line."""
    folder.mkdir(parents=True, exist_ok=True)
    R, cases = np.random.RandomState(0), []
    for number in range(patients):
        label = np.zeros(shape, np.uint8)
        label[10:30, 15:25, 2:6] = 1
        if pieces == 2:
            label[40:50, 15:25, 2:6] = 1
        case = {"patient": f"p{number}"}
        image = [
            write(folder, f"p{number}_{i}.nii.gz", R.rand(*shape).astype(np.float32), spacing) for i in range(images)
        ]
        case["image"] = image if images > 1 else image[0]
        if kind is not None:
            weak = np.zeros(shape, np.uint8)
            weak[12:28, 20, 3] = 2
            weak[5:50, 35, 3] = 1
            case["weak_label"] = write(folder, f"p{number}_weak.nii.gz", weak, spacing)
        if dense:
            case["label"] = write(folder, f"p{number}_label.nii.gz", label, spacing)
        cases.append(case)
    content = {"name": "mine", "labels": {"0": "background", "1": organ}, "training": cases}
    if kind is not None:
        values = {"0": "unlabelled", "1": "background", "2": organ}
        content["weak_label"] = {"kind": kind, "values": values}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def plan_of(folder: Path, small: bool = True, **more):
    facts = read_facts(read_dataset(folder))
    return make_plan(facts, str(folder), "runs/mine", small, **more)


class TestGeometry:
    def test_thick_slices_are_cut_where_the_labels_are(self, tmp_path):
        plan = plan_of(make_data(tmp_path))
        assert (plan.bundle, plan.files) == ("weak_2d", ("train.yaml",))
        assert plan.value("pixdim") == [2.0, 2.0, -1]
        # drawn from 5 to 50 of 60 and from 20 to 35 of 40: 25 and 16 voxels from the centre; a quarter more:
        # 62.5 and 40, so 64 (of multiples of 16), and 48, the whole axis
        assert plan.value("crop") == [64, 48, -1]
        assert plan.value("window") == [64, 48]
        assert plan.value("field") is None  # all of the slice is seen

    def test_a_part_of_a_large_slice(self, tmp_path):
        plan = plan_of(make_data(tmp_path, patients=2, shape=(200, 160, 5)))
        assert plan.value("crop") == plan.value("field") == [128, 112, -1]
        assert plan.value("pixdim")[0] > 2.0  # coarser, so that all that is drawn fits

    def test_the_whole_network_sees_more(self, tmp_path):
        data = make_data(tmp_path, patients=2, shape=(200, 160, 5))
        plan = plan_of(data, small=False)
        assert plan.value("pixdim") == [2.0, 2.0, -1]
        assert plan.value("network_def#features") is None and plan.value("max_epochs") == 200

    def test_cubes_are_volumes(self, tmp_path):
        plan = plan_of(make_data(tmp_path, patients=2, shape=(60, 40, 20), spacing=(1.0, 1.0, 1.2)))
        assert (plan.bundle, plan.value("pixdim")) == ("weak_3d", [1.0, 1.0, 1.2])
        assert plan.value("patch_size") == [64, 40, 24] and plan.value("patches_per_volume") == 1

    def test_patches_of_large_volumes(self, tmp_path):
        plan = plan_of(make_data(tmp_path, patients=1, shape=(120, 100, 90), spacing=(1.0, 1.0, 1.0)))
        patch = plan.value("patch_size")
        assert np.prod(patch) <= 150_000 and all(size % 8 == 0 for size in patch)
        assert plan.value("patches_per_volume") == 4

    def test_slices_along_another_axis(self, tmp_path):
        data = make_data(tmp_path, patients=2, spacing=(2.0, 2.0, 2.0))
        content = json.loads((data / "dataset.json").read_text()) | {"slice_axis": 0}
        (data / "dataset.json").write_text(json.dumps(content))
        plan = plan_of(data, dims=2)
        assert plan.value("slice_axis") == 0
        assert plan.value("pixdim") == [-1, 2.0, 2.0] and plan.value("crop")[0] == -1

    def test_two_images_a_case(self, tmp_path):
        assert plan_of(make_data(tmp_path, patients=2, images=2)).value("network_def#in_channels") == 2


class TestMode:
    @pytest.mark.parametrize(
        ("kind", "dense", "mode"),
        [
            ("scribble", False, "pseudo"),
            ("points", False, "partial"),
            (None, True, "full"),
            ("scribble", True, "pseudo"),
        ],
    )
    def test_what_the_labels_are(self, tmp_path, kind, dense, mode):
        assert plan_of(make_data(tmp_path, patients=2, kind=kind, dense=dense)).value("mode") == mode

    def test_points_with_dense_patients_know_the_sizes(self, tmp_path):
        data = make_data(tmp_path, kind="points", dense=True)
        plan = plan_of(data, fitted=("p1", "p2", "p3"))
        assert (plan.value("mode"), plan.value("set_size")) == ("pseudo", "stated")
        assert plan.value("stated_sizes") == {"organ": 26}  # 20 x 10 x 4 voxels of 32 mm3 are 25.6 ml
        assert plan.value("size_bounds") == {"organ": [400, 1200]}  # 20 x 10 pixels of 4 mm2 are 800 mm2

    def test_spots_in_a_volume_with_dense_patients(self, tmp_path):
        data = make_data(tmp_path, kind="points", dense=True, shape=(60, 40, 20), spacing=(1.0, 1.0, 1.0))
        plan = plan_of(data, fitted=("p1", "p2", "p3"))
        assert plan.value("mode") == "logbarrier"
        assert plan.value("volume_bounds") == {"organ": [0.4, 1.2]}

    def test_bounds_are_to_be_filled_in_where_nothing_is_measured(self, tmp_path):
        plan = plan_of(make_data(tmp_path, patients=2, dense=True))
        assert plan.value("size_bounds") is None
        assert "# size_bounds: {organ: ['?', '?']}" in plan_text(plan, "mine.yaml", "")

    def test_tags_alone_name_their_bundle(self, tmp_path):
        data = make_data(tmp_path, patients=2, kind=None)
        content = json.loads((data / "dataset.json").read_text())
        content["training"] = [{**case, "tags": [1, 1]} for case in content["training"]]
        (data / "dataset.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="prostate_cross_modality"):
            plan_of(data)

    def test_no_label_at_all_is_refused(self, tmp_path):
        data = make_data(tmp_path, patients=2, kind=None)
        with pytest.raises(ValueError, match="no case has a label"):
            plan_of(data)

    @pytest.mark.parametrize(
        ("how", "largest"),
        [({}, True), ({"organ": "tumour core"}, False), ({"dense": True}, True), ({"dense": True, "pieces": 2}, False)],
    )
    def test_the_largest_piece_of_organs_alone(self, tmp_path, how, largest):
        data = make_data(tmp_path, patients=2, **how)
        assert plan_of(data, fitted=("p0", "p1")).value("keep_largest") is largest

    def test_dense_labels_of_others_are_not_looked_at(self, tmp_path):
        """Their patients may be those that the run is scored on."""
        scored, without = make_data(tmp_path / "a", dense=True, pieces=2), make_data(tmp_path / "b")
        names = [setting.name for setting in plan_of(without).settings if setting.name != "dataset_dir"]
        assert [plan_of(scored).value(name) for name in names] == [plan_of(without).value(name) for name in names]


@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (1, {"fold": "all", "data#folds": None, "validation": None}),
        (3, {"fold": None, "data#folds": 3, "validation": 0}),
        (7, {"fold": None, "data#folds": None, "validation": 0}),
        (12, {"fold": None, "data#folds": None, "validation": None}),
    ],
)
def test_few_patients(tmp_path, patients, said):
    plan = plan_of(make_data(tmp_path, patients=patients))
    assert {name: plan.value(name) for name in said} == said


class TestCommand:
    def test_the_file_is_what_the_bundle_takes(self, tmp_path, monkeypatch, capsys):
        """Training is set up with it, every setting known; each has a reason."""
        monkeypatch.chdir(ROOT)
        data, file = make_data(tmp_path / "data"), tmp_path / "mine.yaml"
        assert main(["plan", str(data), "--out", str(file), "--device", "cpu", "--run", str(tmp_path / "run")]) == 0
        assert "wss-monai run training" in capsys.readouterr().out
        settings = yaml.safe_load(file.read_text())
        assert settings["mode"] == "pseudo" and settings["output_dir"] == str(tmp_path / "run")
        bundle = ROOT / "bundles" / "weak_2d" / "configs"
        flow = ConfigWorkflow(
            [str(bundle / "train.yaml"), str(file)], meta_file=str(bundle / "metadata.json"), logging_file=False,
            workflow_type="train", device="cpu",
        )  # fmt: skip
        flow.initialize()  # refuses what it does not know
        assert flow.parser.get_parsed_content("budget").epoch_iterations == 200
        assert len(flow.parser.get_parsed_content("data").training) == 4
        lines = file.read_text().splitlines()
        bare = [
            line for above, line in itertools.pairwise(lines) if line[:1] not in ("#", "") and not above.startswith("#")
        ]
        assert bare == [f"dataset_dir: {data}"]

    def test_it_is_printed_without_a_file(self, tmp_path, capsys):
        assert main(["plan", str(make_data(tmp_path, patients=2)), "--device", "cpu"]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["class_names"] == ["background", "organ"]

    def test_errors_of_the_data_come_first(self, tmp_path, capsys):
        data = make_data(tmp_path, patients=2)
        (data / "p0_0.nii.gz").write_bytes(b"")
        assert main(["plan", str(data)]) == 2
        assert "1 errors; `wss-monai check" in capsys.readouterr().err

    def test_a_file_is_not_overwritten_unless_asked(self, tmp_path, capsys):
        data, file = make_data(tmp_path / "data", patients=2), tmp_path / "mine.yaml"
        assert main(["plan", str(data), "--out", str(file)]) == 0
        assert main(["plan", str(data), "--out", str(file)]) == 2
        assert main(["plan", str(data), "--out", str(file), "--overwrite"]) == 0
        other = tmp_path / "notes.txt"
        other.write_text("mine")
        assert main(["plan", str(data), "--out", str(other), "--overwrite"]) == 2
        assert other.read_text() == "mine"

    def test_commands_name_the_files_in_their_order(self, tmp_path):
        plan = plan_of(make_data(tmp_path, patients=2))
        train, score, report = commands(plan, "mine.yaml")
        assert "['bundles/weak_2d/configs/train.yaml','mine.yaml']" in train
        assert "['bundles/weak_2d/configs/train.yaml','bundles/weak_2d/configs/evaluate.yaml','mine.yaml']" in score
        assert "runs/mine" in report
