# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from wss_monai.handlers import VolumeScores
from wss_monai.transforms import ConstantBoundsd, EqualVolumed

NAMES = ["background", "RV", "LV"]
AFFINE = np.array([[0, -2.0, 0, 5], [2.0, 0, 0, -7], [0, 0, 10.0, 3], [0, 0, 0, 1]])
INF = math.inf


def case(name, **more):
    empty = {"group": None, "phase": None, "label": None, "weak_label": None}
    return {"case": name, "patient": name.split("_")[0], "image": f"/data/{name}.nii.gz", **empty, **more}


def evaluate(folder, items, cases=None, bounds=(), **settings):
    """Run the handler over items {case, pred, label, bounds_...}: index maps (*spatial)."""
    batches = []
    for item in items:
        content = {key: value for key, value in item.items() if key != "pred"}
        if "label" in content:
            content["label"] = MetaTensor(torch.as_tensor(content["label"])[None], affine=AFFINE)
        batches.append(([content], [{"pred": MetaTensor(torch.as_tensor(item["pred"])[None].float(), affine=AFFINE)}]))

    def step(engine, batch):
        engine.state.batch = batch[0]
        return batch[1]

    engine = Engine(step)
    cases = cases or [case(item["case"]) for item in items]
    VolumeScores(folder, cases, NAMES, bounds, **settings).attach(engine)
    engine.run(batches)
    return engine


def block(shape, where, value):
    array = np.zeros(shape, np.int64)
    array[where] = value
    return array


def rows(path):
    return list(csv.DictReader(path.open()))


def strict(path):
    """JSON without NaN and infinity."""
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{path} holds {name}"))


def test_scores_and_files_of_a_case(tmp_path, capsys):
    shape = (6, 5, 3)
    label = block(shape, np.s_[0:4, 0:2, 0:2], 2)  # 16 voxels of 40 mm3
    pred = block(shape, np.s_[0:4, 0:3, 0:2], 2)  # 24 voxels
    bounds = torch.tensor([-INF, INF]).repeat(3, 3, 1, 1)
    bounds[:, 2, 0] = torch.tensor([5.0, 10.0])
    bounds[2, 2, 0] = torch.tensor([-INF, 0.0])
    made = ConstantBoundsd(values={}, class_names=NAMES, unit="mm2", slice_axis=2)
    item = {"case": "p1_ED", "pred": pred, "label": label, "bounds_size": bounds}
    about = case("p1_ED", group="NOR", phase="ED", label="/data/l.nii.gz", weak_values={0: 0, 255: 255})
    engine = evaluate(tmp_path, [item], [about], [made], bounds_origin="constant", seed=3)

    summary = strict(tmp_path / "metrics_summary.json")
    assert summary["dice"] == pytest.approx({"mean": (1 + 0.8) / 2, "RV": 1.0, "LV": 0.8})
    assert summary["iou"] == pytest.approx({"mean": (1 + 16 / 24) / 2, "RV": 1.0, "LV": 16 / 24})
    assert summary["slice_dice"] == pytest.approx({"mean": (1 + 2.6 / 3) / 2, "RV": 1.0, "LV": 2.6 / 3})
    assert summary["slice_dice_shown"] == pytest.approx({"mean": 0.8, "LV": 0.8})  # no slice shows an RV
    assert summary["size_difference"] == pytest.approx({"mean": 4 / 3, "RV": 0, "LV": 8 / 3})
    # 16 LV voxels are right, 8 of the background were taken for LV, 66 were not
    assert summary["confusion"] == [[66, 0, 8], [0, 0, 0], [0, 0, 16]]
    pooled = {"mean": (66 / 74 + 16 / 24) / 3, "background": 66 / 74, "RV": 0.0, "LV": 16 / 24}
    assert summary["iou_pooled"] == pytest.approx(pooled)
    assert summary["classes_never_seen"] == ["RV"]
    assert summary["volume_error_ml"]["LV"] == pytest.approx(8 * 0.04)
    assert summary["volume_error_ml_abs"]["RV"] == 0
    assert summary["hd95_mm"]["RV"] == 0 and summary["hd95_mm"]["LV"] > 0
    assert (summary["n_volumes"], summary["n_empty"]["RV"], summary["n_missed"]["LV"]) == (1, 1, 0)
    assert (summary["bounds_origin"], summary["seed"]) == ("constant", 3)
    assert summary["constraint_satisfaction"]["size"]["LV"] == pytest.approx(
        1 / 3
    )  # two of three slices hold 12 voxels of at most 10
    assert engine.state.metrics["dice"] == pytest.approx(0.9)

    first, second = rows(tmp_path / "evaluation" / "cases.csv")
    assert (first["case"], first["patient"], first["group"], first["phase"]) == ("p1_ED", "p1", "NOR", "ED")
    assert (second["class"], float(second["volume_ml"])) == ("LV", pytest.approx(0.96))
    slices = [r for r in rows(tmp_path / "evaluation" / "slices.csv") if r["class"] == "LV"]
    assert [(r["case"], r["patient"], r["slice"], r["size_difference"], r["empty"]) for r in slices] == [
        ("p1_ED", "p1", "0", "4", "0"),
        ("p1_ED", "p1", "1", "4", "0"),
        ("p1_ED", "p1", "2", "0", "1"),
    ]
    assert [float(r["iou"]) for r in slices] == pytest.approx([2 / 3, 2 / 3, 1])
    limits = rows(tmp_path / "evaluation" / "constraints.csv")
    assert [(r["slice"], r["unit"], float(r["measure"]), float(r["upper"]), r["state"]) for r in limits] == [
        ("0", "mm2", 48.0, 40.0, "violated"),
        ("1", "mm2", 48.0, 40.0, "violated"),
        ("2", "mm2", 0.0, 0.0, "active"),
    ]
    (record,) = strict(tmp_path / "evaluation" / "cases.json")
    assert record["prediction"] == "evaluation/predictions/p1_ED.nii.gz" and record["slice_axis"] == 2
    assert (record["image"], record["label"], record["weak_label"]) == ("/data/p1_ED.nii.gz", "/data/l.nii.gz", None)
    assert record["weak_values"] == {"0": 0, "255": 255}
    assert "0.900" in capsys.readouterr().out


def test_bounds_on_volumes_are_reported_in_ml(tmp_path):
    bounds = torch.tensor([-INF, INF]).repeat(3, 1, 1)
    bounds[1, 0] = torch.tensor([100.0, 200.0])
    made = ConstantBoundsd(term="volume", values={}, class_names=NAMES, unit="ml")
    pred = block((10, 10, 3), np.s_[0:5, 0:5, :], 1)  # 75 voxels of 40 mm3
    evaluate(tmp_path, [{"case": "a", "pred": pred, "bounds_volume": bounds}], bounds=[made])
    (row,) = rows(tmp_path / "evaluation" / "constraints.csv")
    assert (row["unit"], row["slice"], row["state"], row["term"]) == ("ml", "", "violated", "volume")
    assert [float(row[k]) for k in ("measure", "lower", "upper", "violation")] == pytest.approx([3, 4, 8, 1])


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5, 1), (1, 5, 4)])
def test_prediction_keeps_shape_affine_and_class_indices(tmp_path, shape):
    pred = np.arange(np.prod(shape)).reshape(shape) % 3
    evaluate(tmp_path, [{"case": "a", "pred": pred, "label": pred}])
    saved = nib.load(tmp_path / "evaluation" / "predictions" / "a.nii.gz")
    assert saved.get_data_dtype() == np.uint8 and saved.shape == shape
    np.testing.assert_array_equal(np.asarray(saved.dataobj), pred)
    np.testing.assert_allclose(saved.affine, AFFINE)
    assert strict(tmp_path / "metrics_summary.json")["dice"]["mean"] == 1


@pytest.mark.parametrize("label", ["absent", "unlabelled"])
def test_without_dense_labels_dice_is_left_out(tmp_path, capsys, label):
    pred = block((4, 4, 2), np.s_[0, 0, 0], 1)
    item = {"case": "a", "pred": pred} | ({"label": np.full(pred.shape, 255)} if label == "unlabelled" else {})
    evaluate(tmp_path, [item])
    summary = strict(tmp_path / "metrics_summary.json")
    assert not {"iou_pooled", "confusion", "classes_never_seen"} & set(summary)
    assert not {"dice", "iou", "hd95_mm", "volume_error_ml", "slice_dice", "size_difference"} & set(summary)
    assert rows(tmp_path / "evaluation" / "slices.csv") == []
    assert summary["constraint_satisfaction"] == {}
    assert "No case has a dense mask: Dice, distances and volume errors are left out." in capsys.readouterr().out


def test_a_weak_label_of_its_own_is_scored_and_a_dense_one_in_its_place_is_not(tmp_path, capsys):
    pred = block((4, 4, 2), np.s_[0:2, 0, 0], 2)
    weak = torch.full((1, 4, 4, 2), 255)
    weak[0, 0:4, 0, 0] = 2  # two of four
    weak[0, 3, 3, 1] = 0
    items = [{"case": name, "pred": pred, "weak_label": weak} for name in ("own", "dense", "box")]
    items[2]["boxes"] = torch.zeros(3, 4, 4, 2)
    items[2]["boxes"][2, 0:4, 0, 0] = 1
    cases = [
        case("own", weak_label="/data/w.nii.gz", slice_tags=[[1, 0, 0], [1, 0, 1]]),
        case("dense", label="/data/l.nii.gz"),
        case("box", weak_label="/data/b.nii.gz", weak_kind="box"),
    ]
    evaluate(tmp_path, items, cases)
    found = {(r["case"], r["class"]): r for r in rows(tmp_path / "evaluation" / "cases.csv")}
    own = found["own", "LV"]
    assert [own[key] for key in ("drawn_voxels", "stroke_recall", "background_recall", "strokes_right")] == [
        "4", "0.5", "1.0", "0.6",
    ]  # fmt: skip
    assert (own["tags_right"], own["box_iou"]) == ("0.0", "")
    assert not any(found["dense", "LV"][key] for key in ("drawn_voxels", "strokes_right"))
    box = found["box", "LV"]
    assert (box["box_iou"], box["background_recall"], box["strokes_right"]) == ("0.5", "1.0", "")
    summary = strict(tmp_path / "metrics_summary.json")
    assert (summary["n_drawn"], summary["strokes_right"]) == (1, {"mean": 0.6})
    assert summary["stroke_recall"] == {"mean": 0.5, "LV": 0.5}
    assert "strokes right" in capsys.readouterr().out


def test_missed_organs_give_finite_numbers(tmp_path):
    nothing, organ = np.zeros((4, 4, 2), np.int64), block((4, 4, 2), np.s_[1:3, 1:3, :], 2)
    items = [{"case": "a", "pred": nothing, "label": organ}, {"case": "b", "pred": organ, "label": organ}]
    evaluate(tmp_path, items)
    summary = strict(tmp_path / "metrics_summary.json")
    assert summary["dice"]["LV"] == pytest.approx(0.5)
    assert summary["hd95_mm"]["LV"] == pytest.approx(math.dist((0, 0, 0), (8, 8, 20)) / 2)
    assert (summary["n_missed"]["LV"], summary["n_empty"]["RV"], summary["n_volumes"]) == (1, 2, 2)


def test_voxels_of_all_cases_are_pooled(tmp_path):
    """A small and a large volume: the mean over volumes weighs both alike, the pooled IoU by their voxels."""
    organ = block((4, 4, 2), np.s_[1:3, 1:3, :], 2)
    large = block((8, 8, 8), np.s_[2:6, 2:6, 2:6], 2)
    unknown = organ.copy()
    unknown[0] = 255  # left out, whatever is predicted there
    noisy = organ.copy()
    noisy[0] = 1
    items = [
        {"case": "a", "pred": noisy, "label": unknown},
        {"case": "b", "pred": block((8, 8, 8), np.s_[2:6, 2:6, 2:4], 2), "label": large},
    ]
    evaluate(tmp_path, items)
    summary = strict(tmp_path / "metrics_summary.json")
    assert summary["iou"]["LV"] == pytest.approx(0.75)
    assert summary["confusion"] == [[16 + 448, 0, 0], [0, 0, 0], [32, 0, 8 + 32]]
    assert summary["iou_pooled"]["LV"] == pytest.approx(40 / 72)
    assert summary["classes_never_seen"] == ["RV"]


def test_a_second_run_replaces_the_first(tmp_path):
    pred = block((4, 4, 2), np.s_[0, 0, 0], 1)
    for number in range(2):
        evaluate(tmp_path, [{"case": f"c{number}", "pred": pred, "label": pred}])
    assert {row["case"] for row in rows(tmp_path / "evaluation" / "cases.csv")} == {"c1"}
    assert strict(tmp_path / "metrics_summary.json")["n_volumes"] == 1


def test_volumes_that_are_to_be_equal_in_two_cases(tmp_path):
    """0.96 ml in ED and 0.64 ml in ES where 20 % are allowed; p2 has one case, and p3's volumes cannot be compared."""
    made = EqualVolumed({"LV": 0.2}, NAMES)
    one_ml = torch.tensor([-INF, INF]).repeat(3, 1, 1)
    one_ml[2, 0] = torch.tensor([25 / math.sqrt(1.2), 25 * math.sqrt(1.2)])  # voxels of 40 mm3
    large, small = (block((6, 5, 3), np.s_[0:4, 0:n, 0:2], 2) for n in (3, 2))
    items = [{"case": f"p{n}", "pred": pred, "bounds_equal_volume": one_ml} for n, pred in
             (("1_ED", large), ("2_ED", large), ("1_ES", small))]  # fmt: skip
    free = torch.tensor([-INF, INF]).repeat(3, 1, 1)
    items += [{"case": f"p3_{phase}", "pred": large, "bounds_equal_volume": free} for phase in ("ED", "ES")]
    engine = evaluate(tmp_path, items, bounds=[made])
    (row,) = rows(tmp_path / "evaluation" / "constraints.csv")
    assert {key: row[key] for key in ("case", "other", "patient", "term", "class", "unit", "slice", "state")} == {
        "case": "p1_ES", "other": "p1_ED", "patient": "p1", "term": "equal_volume", "class": "LV", "unit": "ml",
        "slice": "", "state": "violated",
    }  # fmt: skip
    sides = [float(row[key]) for key in ("measure", "lower", "upper", "violation")]
    assert sides == pytest.approx([0.64, 0.8, 1.152, 0.16], rel=1e-5)
    held = strict(tmp_path / "metrics_summary.json")["constraint_satisfaction"]
    assert held == {"equal_volume": {"mean": 0.0, "LV": 0.0}}
    assert engine.state.metrics["constraint_satisfaction_equal_volume_LV"] == 0.0
