# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
import base64
import io
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wss_monai.commands import report
from wss_monai.report.browse import write_browser
from wss_monai.report.browse_case import run_lengths, slices_to_show

CASES = ("p1_ED", "p1_ES", "p2_ED")
SHAPE = (20, 14, 5)


def content(path):
    """What the page's script gets to see."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.S)
    return json.loads(found[1])


def by_id(path):
    return {case["id"]: case for case in content(path)["cases"]}


def decoded(case, part, title):
    pairs = np.frombuffer(base64.b64decode(part["maps"][title]), np.uint8).reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(case["height"], case["width"])


def grey(part):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(part["image"].split(",")[1]))))


def edited(run, change):
    """Change the entries of cases.json."""
    path = run / "evaluation" / "cases.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(change(entries)))


def moved(tmp_path, name="moved", **header):
    """Move the data of the runs, and describe them by a dataset.json."""
    folder = tmp_path / name
    shutil.move(tmp_path / "data", folder)
    kinds = ("image", "label", "weak_label")
    entries = [
        {"case": case, "patient": case[:2], **{kind: f"{case}_{kind}.nii.gz" for kind in kinds}} for case in CASES
    ]
    weak = {"0": "background", "1": "RV", "2": "LV", "255": "unlabelled"}
    text = {
        "name": "Tiny",
        "labels": {"0": "background", "1": "RV", "2": "LV"},
        "weak_label": {"kind": "points", "values": weak},
        "training": entries,
        **header,
    }
    (folder / "dataset.json").write_text(json.dumps(text))
    return folder


def test_page_loads_nothing_from_elsewhere(make_run, tmp_path):
    page = write_browser([make_run()], tmp_path / "made" / "b.html").read_text("utf-8")
    assert "http:" not in page and "https:" not in page and "//" not in page.split("</style>")[0].split("<style>")[1]
    assert not re.search(r"<(link|iframe|object|embed)|\bsrc=|\bhref=|@import|fetch\(|XMLHttpRequest", page)
    assert "default-src 'none'" in page


def test_runs_stand_side_by_side_with_their_scores(make_run, tmp_path):
    runs = [make_run("a", mode="full", shift=0), make_run("b", mode="partial", shift=2)]
    found = content(write_browser(runs, tmp_path / "b.html"))
    assert found["panels"] == ["image", "weak label", "reference", "full", "partial"]
    assert found["runs"] == ["full", "partial"]
    assert [(k["index"], k["name"], k["colour"], k["shown"]) for k in found["classes"]] == [
        (1, "RV", "#56B4E9", True),
        (2, "LV", "#E69F00", True),
    ]
    case = next(case for case in found["cases"] if case["id"] == "p2_ED")
    assert [(row["class"], row["dice"]) for row in case["scores"]["full"]] == [("mean", 1.0), ("RV", 1.0), ("LV", 1.0)]
    mean, right, left = (row["dice"] for row in case["scores"]["partial"])
    assert right == pytest.approx(2 / 6)  # six rows, moved by four
    assert mean == pytest.approx((right + left) / 2)
    assert case["about"] == "ED"


def test_slices_are_turned_as_radiologists_read_them(make_run, tmp_path):
    case = by_id(write_browser([make_run()], tmp_path / "b.html"))["p1_ED"]
    assert (case["width"], case["height"]) == (20, 14)
    assert case["pixel"] == pytest.approx([1.5, 1.0])
    assert (case["edges"], case["total"]) == (["R", "A"], 5)
    assert [part["number"] for part in case["slices"]] == [1, 2, 3, 4, 5]
    label = np.asarray(nib.load(tmp_path / "data" / "p1_ED_label.nii.gz").dataobj)
    weak = np.asarray(nib.load(tmp_path / "data" / "p1_ED_weak_label.nii.gz").dataobj)
    for z, part in enumerate(case["slices"]):
        assert np.array_equal(decoded(case, part, "reference"), label[..., z].T)
        assert np.array_equal(decoded(case, part, "weak label"), weak[..., z].T)
    assert case["partial"] == ["weak label"]
    assert grey(case["slices"][0]).shape == (14, 20)
    assert grey(case["slices"][0])[0, 0] == 0 and grey(case["slices"][2])[6, 14] == 255


@pytest.mark.parametrize(
    ("plane", "pairs"),
    [
        ([[0, 0], [1, 1]], [0, 2, 1, 2]),
        ([[255] * 300, [255] * 300], [255, 255, 255, 255, 255, 90]),
        ([[7] * 255], [7, 255]),
        ([[3]], [3, 1]),
    ],
)
def test_run_lengths(plane, pairs):
    assert list(base64.b64decode(run_lengths(np.array(plane)))) == pairs


@pytest.mark.parametrize(
    ("drawn", "number", "chosen"),
    [
        ([4, 5], 24, [3, 4, 5, 6]),
        ([0, 9], 24, list(range(10))),
        ([4, 5], 2, [3, 6]),
        ([4], 1, [4]),
        ([], 4, [0, 3, 6, 9]),
    ],
)
def test_slices_that_show_something_and_one_on_each_side(drawn, number, chosen):
    volume = np.zeros((3, 3, 10), np.uint8)
    volume[0, 0, drawn] = 2
    volume[1, 1] = 255
    assert slices_to_show([np.zeros_like(volume), volume], 2, number) == chosen


def test_crop_keeps_the_square_around_the_reference_and_says_what_lies_outside(make_run, tmp_path):
    run = make_run(cases=("p1_ED",))
    path = run / "evaluation" / "predictions" / "p1_ED.nii.gz"
    volume = nib.load(path)
    prediction = np.asarray(volume.dataobj).copy()
    prediction[:, :, 2] = 0
    prediction[5, 5, 2] = prediction[0, 0, 2] = 1
    nib.save(nib.Nifti1Image(prediction, volume.affine), path)
    case = by_id(write_browser([run], tmp_path / "b.html", crop=0))["p1_ED"]
    # The reference: columns 4 to 14 (16.5 mm), rows 3 to 8 (6 mm); the square of 16.5 mm is cut at the frame.
    assert (case["width"], case["height"]) == (12, 14)
    assert case["slices"][2]["outside"] == {"partial": "50 % outside"}
    assert case["slices"][1]["outside"] == {}
    assert case["zoom"] == [0, 0, 12, 14]
    wide = by_id(write_browser([run], tmp_path / "b.html", crop=4))["p1_ED"]
    assert wide["width"] == 12 + 6  # 4 mm are 2.67 voxels a side
    whole = by_id(write_browser([run], tmp_path / "b.html"))["p1_ED"]
    assert (whole["width"], whole["height"]) == (20, 14)


def test_zoom_lies_around_the_reference(make_run, tmp_path):
    run = make_run(cases=("p1_ED",))
    path = tmp_path / "data" / "p1_ED_label.nii.gz"
    label = np.zeros(SHAPE, np.uint8)
    label[10, 7, 2] = 1
    nib.save(nib.Nifti1Image(label, nib.load(path).affine), path)
    whole = by_id(write_browser([run], tmp_path / "b.html"))["p1_ED"]
    assert whole["zoom"] == [10, 6, 2, 4]  # left, top, width, height
    cropped = by_id(write_browser([run], tmp_path / "b.html", crop=3))["p1_ED"]
    assert (cropped["width"], cropped["height"], cropped["zoom"]) == (6, 8, [2, 2, 2, 4])


def test_a_seed_gives_one_page(make_run, tmp_path):
    run = make_run(cases=[f"p{i}_ED" for i in range(9)])
    pages = [write_browser([run], tmp_path / f"{i}.html", cases=4, seed=seed) for i, seed in enumerate((3, 3, 4))]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    orders = [[case["id"] for case in content(page)["cases"]] for page in pages]
    assert len(set(orders[0])) == 4
    assert orders[0] != orders[2]
    everything = [case["id"] for case in content(write_browser([run], tmp_path / "all.html"))["cases"]]
    assert sorted(everything) == [f"p{i}_ED" for i in range(9)] and everything != sorted(everything)


def test_pattern(make_run, tmp_path):
    run = make_run()
    assert set(by_id(write_browser([run], tmp_path / "b.html", pattern="_E[D]$"))) == {"p1_ED", "p2_ED"}
    with pytest.raises(ValueError, match=r"pattern 'x' matches no case of .*run; its ids are p1_ED, p1_ES, p2_ED\."):
        write_browser([run], tmp_path / "b.html", pattern="x")
    with pytest.raises(ValueError, match=r"pattern '\(' is no regular expression"):
        write_browser([run], tmp_path / "b.html", pattern="(")


@pytest.mark.parametrize(
    ("show", "between"), [(["label"], ["reference"]), (["weak_label"], ["weak label"]), ([], [])], ids=str
)
def test_what_stands_beside_the_predictions(make_run, tmp_path, show, between):
    assert content(write_browser([make_run()], tmp_path / "b.html", show=show))["panels"] == [
        "image", *between, "partial"
    ]  # fmt: skip


def test_without_dense_labels(make_run, tmp_path):
    found = content(write_browser([make_run(dense=False)], tmp_path / "b.html"))
    assert found["panels"] == ["image", "weak label", "partial"]
    for case in found["cases"]:
        assert [set(row) for row in case["scores"]["partial"]] == [{"class", "ml"}] * 2


def test_a_case_without_weak_label_among_others(make_run, tmp_path):
    run = make_run()
    edited(run, lambda entries: [{**entries[0], "weak_label": None}, *entries[1:]])
    page = write_browser([run], tmp_path / "b.html")
    assert "weak label" in content(page)["panels"]
    assert by_id(page)["p1_ED"]["titles"] == ["partial", "reference"]


def test_an_evaluation_without_cases_gives_an_empty_page(make_run, tmp_path):
    page = write_browser([make_run(cases=(), dense=False)], tmp_path / "b.html")
    assert content(page)["cases"] == []
    assert "lists no case" in page.read_text("utf-8")


def test_images_of_two_dimensions(make_run, tmp_path):
    run = make_run(cases=("p1_ED",))
    entry = json.loads((run / "evaluation" / "cases.json").read_text())[0]
    for path in (*(entry[key] for key in ("image", "label", "weak_label")), run / entry["prediction"]):
        volume = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(volume.dataobj)[..., 2], volume.affine), path)
    case = by_id(write_browser([run], tmp_path / "b.html"))["p1_ED"]
    assert (case["total"], len(case["slices"]), case["height"]) == (1, 1, 14)


def test_names_are_escaped(make_run, tmp_path):
    nasty = "</script><img src=x onerror='alert(1)'>&\"$"
    run = make_run(mode=nasty, dataset=nasty, names=["background", nasty, "LV"])
    edited(run, lambda entries: [{**entry, "case": nasty + entry["case"]} for entry in entries])
    page = write_browser([run], tmp_path / "b.html")
    assert "<img" not in page.read_text("utf-8")
    assert page.read_text("utf-8").count("</script>") == 2
    found = content(page)
    assert found["runs"] == [nasty] and found["classes"][0]["name"] == nasty
    assert {case["id"] for case in found["cases"]} == {nasty + case for case in CASES}


def test_first_view(make_run, tmp_path):
    run = make_run()
    found = content(write_browser([run], tmp_path / "b.html", opacity=0.2, contours=False, classes=["LV"], names=["A"]))
    assert (found["opacity"], found["contours"], found["runs"]) == (0.2, False, ["A"])
    assert [k["shown"] for k in found["classes"]] == [False, True]
    by_index = content(write_browser([run], tmp_path / "b.html", classes=["1"]))
    assert [k["shown"] for k in by_index["classes"]] == [True, False]


def test_runs_of_different_cases_are_refused(make_run, tmp_path):
    runs = [make_run("a", mode="full"), make_run("b", cases=("p1_ED", "p7_ED"))]
    with pytest.raises(ValueError, match=r"different cases .*only in .*a: p1_ES, p2_ED; only in .*b: p7_ED"):
        write_browser(runs, tmp_path / "b.html")


def test_the_same_ids_in_other_data_are_refused(make_run, tmp_path):
    runs = [make_run("a", mode="full"), make_run("b")]
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    edited(runs[1], lambda entries: json.loads(json.dumps(entries).replace("/data/", "/copy/")))
    assert len(content(write_browser(runs, tmp_path / "b.html"))["cases"]) == 3
    path = tmp_path / "copy" / "p1_ES_image.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata() + 1, image.affine), path)
    with pytest.raises(ValueError, match=r"case p1_ES of .*a and of .*b has different images"):
        write_browser(runs, tmp_path / "b.html")


def test_a_run_that_was_not_evaluated_is_refused_with_the_command(make_run, tmp_path):
    runs = [make_run("a", mode="full"), make_run("b", evaluated=False)]
    with pytest.raises(FileNotFoundError, match=r"b has no evaluation/.*monai.bundle run evaluating .*tiny/configs"):
        write_browser(runs, tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()


def test_data_that_were_moved(make_run, tmp_path):
    run = make_run()
    before = write_browser([run], tmp_path / "a.html").read_bytes()
    folder = moved(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"image.nii.gz, named in .* --data DIR"):
        write_browser([run], tmp_path / "b.html")
    assert write_browser([run], tmp_path / "b.html", data=folder).read_bytes() == before
    assert write_browser([run], tmp_path / "b.html", data=folder / "dataset.json").read_bytes() == before


def test_classes_in_another_order_are_matched_by_name(make_run, tmp_path):
    run = make_run()
    weak = {"0": "background", "1": "RV", "2": "LV", "255": "unlabelled"}
    before = by_id(write_browser([run], tmp_path / "a.html"))["p1_ED"]
    folder = moved(tmp_path, labels={"0": "background", "1": "LV", "2": "RV"}, weak_label={"kind": "x", "values": weak})
    after = by_id(write_browser([run], tmp_path / "b.html", data=folder))["p1_ED"]
    swapped = np.array([0, 2, 1])[decoded(before, before["slices"][2], "reference")]
    assert np.array_equal(decoded(after, after["slices"][2], "reference"), swapped)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"labels": {"0": "background", "1": "RV", "2": "LV", "3": "Myo"}}, r"has the classes .*'Myo'.* and .*run has"),
        ({"training": []}, r"does not hold the cases p1_ED, p1_ES, p2_ED of .*run: pass the data set"),
    ],
)
def test_another_data_set_is_refused(make_run, tmp_path, header, match):
    run = make_run()
    folder = moved(tmp_path, **header)
    with pytest.raises(ValueError, match=match):
        write_browser([run], tmp_path / "b.html", data=folder)


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ({"cases": 0}, "cases must be 1 or more, got 0"),
        ({"slices": 0}, "slices must be 1 or more, got 0"),
        ({"crop": -1}, "crop must be a margin in mm, 0 or more, got -1"),
        ({"opacity": 2}, "opacity must lie between 0 and 1, got 2"),
        ({"limit_mb": 0}, "limit_mb must be more than 0"),
        ({"show": ["image"]}, r"show names \['image'\]; it may name"),
        ({"names": ["a", "b"]}, "names holds 2 names for 1 runs"),
        ({"names": ["reference"]}, "names must differ from one another and from"),
        ({"classes": ["Myo", "0"]}, r"classes names \['Myo', '0'\]; the foreground classes are \['RV', 'LV'\]"),
        (
            {"limit_mb": 0.005},
            r"larger than 0.005 MB, as it was after \d of 3 cases: ask .*--cases \d",
        ),
        ({"data": "nowhere"}, "no data set folder"),
    ],
)
def test_bad_arguments(make_run, tmp_path, argument, match):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        write_browser([make_run()], tmp_path / "b.html", **argument)
    assert not (tmp_path / "b.html").exists()


def test_out_is_no_folder(make_run, tmp_path):
    with pytest.raises(ValueError, match=r"out is the folder .*: name a file such as .*browse.html"):
        write_browser([make_run()], tmp_path)


def test_the_command_says_how_large_the_page_is(make_run, tmp_path, capsys):
    parser, out = argparse.ArgumentParser(), tmp_path / "b.html"
    report.add_parser(parser.add_subparsers(required=True))
    words = ["report", "browse", "--runs", str(make_run()), "--out", str(out), "-n", "2", "--show", "label"]
    args = parser.parse_args([*words, "--no-contours", "--slices", "3", "--classes", "RV", "--seed", "1"])
    assert args.run(args) == 0
    assert re.search(r"written: .*b\.html \(0\.\d MB\)", capsys.readouterr().out)
    found = content(out)
    assert (len(found["cases"]), found["contours"], found["panels"][1]) == (2, False, "reference")
    assert all(len(case["slices"]) == 3 for case in found["cases"])
