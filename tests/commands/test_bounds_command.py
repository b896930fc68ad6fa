# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.data import load_semi_supervised
from wss_monai.transforms import EstimatedBoundsd, LoadCased, WeakCuesd, WeakTagsd

CLASSES = ("RV", "Myo", "LV")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("bounds") / "data", patients=8)


def fit(data, out, *words):
    return main(["bounds", "--fit", str(data), "--validation", "0", "--out", str(out / "b.json"), *words])


def test_the_file_and_the_tables(data, tmp_path, capsys):
    constant = '{"size": {"RV": [10, 2000], "Myo": [10, 100], "LV": [10, 2000]}}'
    words = ["--dense", "5", "--terms", "size", "volume", "--constant", constant, "--audit", "training", "test"]
    assert fit(data, tmp_path, *words) == 0
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["bounds_origin"] == "estimated" and content["dense"] == 5 and len(content["patients"]) == 5
    assert content["level_guaranteed"] == pytest.approx(5 / 6)
    assert set(content["terms"]) == {"size", "volume"} and set(content["terms"]["size"]["classes"]) == set(CLASSES)
    rows = {(row["class"], row["cues"]): row for row in content["terms"]["size"]["check"]}
    assert rows["LV", "scribble"]["n"] == 20 and rows["RV", "scribble"]["n"] == 15  # RV is not in the first slice
    assert 0 <= rows["LV", "scribble"]["coverage"] <= 1 and rows["LV", "scribble"]["width_ratio"] > 1
    assert rows["Myo", "scribble"]["replaced_by_constant"] > 0.9  # its area is far above 100 mm2
    assert {row["patients"] for row in content["audit"]["test"]["size"]} == {1}
    assert {row["patients"] for row in content["audit"]["training"]["size"]} == {2}
    printed = capsys.readouterr().out
    for text in ("k / (k + 1)", "0.83", "left out by patient", "audit on test patients", "replaced by the constant"):
        assert text in printed
    assert "volume: no constant bounds of RV, Myo, LV" in printed


def test_the_seed_draws_the_patients(data, tmp_path):
    drawn = []
    for seed in ("0", "1", "0"):
        assert fit(data, tmp_path, "--dense", "3", "--seed", seed) == 0
        drawn.append(json.loads((tmp_path / "b.json").read_text())["patients"])
    assert drawn[0] == drawn[2] and len({tuple(p) for p in drawn}) == 2
    assert fit(data, tmp_path, "--dense", "3", "--patients", "p2", "p1", "p4") == 0
    assert json.loads((tmp_path / "b.json").read_text())["patients"] == ["p1", "p2", "p4"]


def test_position_alone_without_weak_labels(data, tmp_path, capsys):
    content = json.loads((data / "dataset.json").read_text())
    for case in content["training"]:
        case.pop("weak_label")
    copy = data / "bare"
    copy.mkdir()
    content["files_outside"] = True
    for case in content["training"] + content["test"]:
        for key in ("image", "label", "weak_label"):
            if key in case:
                case[key] = f"../{case[key]}"
    (copy / "dataset.json").write_text(json.dumps(content))
    assert fit(copy, tmp_path, "--dense", "4") == 2
    assert "has a dense label but no weak one" in capsys.readouterr().err
    assert fit(copy, tmp_path, "--dense", "4", "--cues", "position") == 0
    classes = json.loads((tmp_path / "b.json").read_text())["terms"]["size"]["classes"]
    assert set(classes["LV"]) == {"position", "unknown"}


@pytest.mark.parametrize("labelled", [1, 2])
def test_on_the_labelled_patients_of_a_semi_supervised_run(data, tmp_path, capsys, labelled):
    words = ["--labelled", str(labelled), "--split-seed", "3", "--validation", "1", "--audit", "training", "test"]
    assert fit(data, tmp_path, *words) == 0
    split = load_semi_supervised(data, validation=1, labelled=labelled, split_seed=3)
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["patients"] == split.patients["labelled"] and len(content["patients"]) == labelled
    classes = content["terms"]["size"]["classes"]
    assert set(classes["LV"]) == {"position", "unknown"}
    assert classes["LV"]["unknown"]["sure"] == pytest.approx([0.1, 0.9])
    assert classes["RV"]["unknown"]["sure"] == pytest.approx([0.35, 0.9])  # not in the first of four slices
    rows = {row["class"]: row for row in content["audit_without_tags"]["training"]}
    # the others of seven less one for validation, four slices each; the discs are the same in all patients
    assert rows["RV"]["patients"] == 6 - labelled and rows["RV"]["n"] == 4 * (6 - labelled)
    assert rows["RV"]["coverage"] == 1.0 and rows["RV"]["lower_share"] == 0.75
    assert rows["LV"]["true_over_lower"] == pytest.approx(1 + 1.5 / labelled, rel=0.1)
    printed = capsys.readouterr().out
    assert "slices without tags (unknown: position), audit on training patients" in printed
    assert f"Too few to calibrate on: intervals reach {1 + 1.5 / labelled:.2f} times beyond" in printed
    assert ("one patient alone shows a class" in printed) == (labelled == 1)
    unseen = split.unlabelled[0]
    steps = Compose([LoadCased(["image", "weak_label"]), WeakTagsd(4), WeakCuesd(4)])
    names = ["background", *CLASSES]
    bounds = EstimatedBoundsd(file=tmp_path / "b.json", class_names=names, unknown="position")(steps(unseen))
    bounds = bounds["bounds_size"]
    true = np.asarray(nib.load(data / "labels" / f"{unseen['case']}.nii.gz").dataobj)
    sizes = np.stack([(true == k).sum((0, 1)) for k in range(1, 4)], 1)
    assert (bounds[:, 1:, 0, 0].numpy() <= sizes).all() and (sizes <= bounds[:, 1:, 0, 1].numpy()).all()
    assert bounds[:, 3].isfinite().all() and bounds[0, 1].isinf().any()


def test_labelled_patients_are_those_of_the_run_where_others_have_no_labels(tmp_path):
    """Validation patients are drawn from those with labels, so that none of the labelled ones is lost to them."""
    data = make_dataset(tmp_path / "data", patients=10)
    content = json.loads((data / "dataset.json").read_text())
    for case in content["training"]:
        if case["patient"] in ("p1", "p2", "p4", "p6"):
            del case["label"]
    (data / "dataset.json").write_text(json.dumps(content))
    for seed in (2, 3):  # with the last one both would validate if all patients were drawn from
        assert fit(data, tmp_path, "--labelled", "2", "--validation", "2", "--split-seed", str(seed)) == 0
        written = json.loads((tmp_path / "b.json").read_text())
        split = load_semi_supervised(data, validation=2, labelled=2, split_seed=seed)
        assert written["patients"] == split.patients["labelled"] and written["dense"] == 2
        assert {row["patients"] for row in written["terms"]["size"]["check"]} == {2}


def test_statements_on_anatomy(data, tmp_path, capsys):
    """Of nested discs: the LV, radius 5, in a ring to radius 8 beside half of a ring to radius 12."""
    words = ["--dense", "4", "--terms", "size", "ratio:LV", "contact:LV", "enclosure:Myo", "pieces", "volume_ratio:Myo"]
    assert fit(data, tmp_path, *words, "--audit", "training") == 0
    content = json.loads((tmp_path / "b.json").read_text())
    terms = content["terms"]
    assert list(terms) == ["size", "ratio", "contact", "enclosure", "pieces", "volume_ratio"]
    assert (terms["ratio"]["unit"], terms["contact"]["unit"], terms["ratio"]["other"]) == ("1", "mm", "LV")
    assert set(terms["ratio"]["classes"]) == {"RV", "Myo"} and set(terms["pieces"]["classes"]) == set(CLASSES)
    label = np.asarray(nib.load(data / "labels" / "p1_ED.nii.gz").dataobj)
    ratio = (label[..., 1] == 2).sum() / (label[..., 1] == 3).sum()  # the discs are the same in all
    assert terms["ratio"]["classes"]["Myo"]["interval"] == pytest.approx([ratio / 1.05, ratio * 1.05], rel=0.02)
    assert terms["contact"]["classes"]["RV"]["interval"] == [None, 5.0]  # the ring lies between them
    assert terms["enclosure"]["classes"]["LV"]["interval"] == [pytest.approx(0.951, abs=1e-3), None]
    assert terms["pieces"]["classes"]["LV"]["interval"] == [None, 0.02]
    rows = {row["class"]: row for row in terms["ratio"]["check"]}
    assert (rows["RV"]["patients"], rows["RV"]["n"], rows["Myo"]["n"]) == (4, 12, 16)  # RV is not in the first slice
    assert {row["n"] for row in terms["volume_ratio"]["check"]} == {4}
    audit = content["audit"]["training"]["enclosure"]
    assert {(row["class"], row["patients"], row["coverage"]) for row in audit if row["class"] == "LV"} == {
        ("LV", 3, 1.0)
    }
    printed = capsys.readouterr().out
    assert "at most 5 mm" in printed and "at least 0.951" in printed and "audit on training patients" in printed


def test_a_class_beside_which_another_never_is(tmp_path, capsys):
    data = make_dataset(tmp_path / "data", patients=5)
    for file in (data / "labels").iterdir():
        image = nib.load(file)
        array = np.asarray(image.dataobj).copy()
        array[array == 1] = 0
        array[:4, :4, 0] = 1
        array[..., 0][array[..., 0] == 3] = 2
        nib.save(nib.Nifti1Image(array, image.affine), file)
    assert fit(data, tmp_path / "out", "--dense", "4", "--cues", "position", "--terms", "ratio:LV") == 2
    error = capsys.readouterr().err
    assert "--terms ratio, class 'RV': 0 of the dense patients show it beside 'LV' in a slice (none)" in error
    words = ["--dense", "4", "--cues", "position", "--terms", "volume_ratio:LV", "pieces"]
    assert fit(data, tmp_path, *words) == 0


def test_fitting_needs_patients(data, tmp_path, capsys):
    assert fit(data, tmp_path, "--patients", "p1", "p2", "p3") == 0
    assert fit(data, tmp_path / "a", "--audit", "test") == 2
    assert "say which dense patients to fit on" in capsys.readouterr().err
    assert fit(data, tmp_path / "a", "--labelled", "2", "--dense", "2") == 2
    assert "--labelled draws the patients itself" in capsys.readouterr().err
    assert fit(data, tmp_path / "a", "--labelled", "40") == 2
    assert "it must be from 1 to 7" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dense", "2"], "2 of the dense patients show it (p"),
        (["--dense", "40"], "dense=40: it must lie between 0 and the 7 training patients"),
        (["--dense", "5", "--terms", "length"], "terms ['length'] are unknown"),
        (["--dense", "5", "--terms", "ratio"], "--terms ratio: 'ratio' relates each class to another one"),
        (["--dense", "5", "--terms", "ratio:heart"], "write 'ratio:CLASS' with one of ['RV', 'Myo', 'LV']"),
        (["--dense", "5", "--terms", "pieces:LV"], "'pieces' measures each class by itself; leave out ':LV'"),
        (["--dense", "2", "--terms", "border"], "--terms border, class 'RV': 2 of the dense patients show it (p"),
        (["--dense", "5", "--level", "1.5"], "level must be at least 0.5 and below 1"),
        (["--dense", "5", "--constant", '{"volume": {}}'], "--constant names the terms ['volume']"),
        (["--dense", "3", "--patients", "p1", "p0", "p2"], "--patients ['p0'] are no training patients"),
    ],
)
def test_refusals_write_nothing(data, tmp_path, capsys, words, message):
    assert fit(data, tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_class_that_too_few_patients_show(tmp_path, capsys):
    data = make_dataset(tmp_path / "data", patients=5)
    for number in (1, 2, 3):
        for kind in ("labels", "scribbles"):
            file = data / kind / f"p{number}_ED.nii.gz"
            image = nib.load(file)
            array = np.asarray(image.dataobj).copy()
            array[array == 3] = 2
            nib.save(nib.Nifti1Image(array, image.affine), file)
    out = tmp_path / "out"
    assert fit(data, out, "--dense", "4") == 2
    assert "class 'LV': 1 of the dense patients show it (p4)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("constant", "match"),
    [
        ("5", "--constant must be an object of objects"),
        ('{"size": 5}', "--constant must be an object of objects"),
        ('{"size": null}', "--constant must be an object of objects"),
        ('{"size": {"LV": 5}}', "'size.LV' must be [lower, upper]"),
        ('{"size": {"LV": [9, 1]}}', "with lower <= upper and upper >= 0, got [9, 1]"),
        ('{"size": {"LV": ["a", "b"]}}', "'size.LV' must be [lower, upper]"),
        ('{"size": {"LV": [1, 2, 3]}}', "'size.LV' must be [lower, upper]"),
        ('{"size": {"LV": [NaN, 2]}}', "'size.LV' must be [lower, upper]"),
        ('{"size": {"LV": [-9, -1]}}', "upper >= 0, got [-9, -1]"),
        ('{"size": {"nobody": [1, 2]}}', "--constant names ['nobody']; the foreground classes are ['RV', 'Myo', 'LV']"),
    ],
)
def test_constants_that_are_no_bounds(data, tmp_path, capsys, constant, match):
    assert fit(data, tmp_path, "--dense", "3", "--constant", constant) == 2
    error = capsys.readouterr().err
    assert match in error and error.count("\n") == 1 and not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("names", ["5", "[1, 2]", '[["a"]]', "x", "[" * 100_000])
def test_class_names_that_are_none(data, tmp_path, capsys, names):
    assert fit(data, tmp_path, "--dense", "3", "--class-names", names) == 2
    assert "--class-names must be a JSON list of names" in capsys.readouterr().err
