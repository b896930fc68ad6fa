# SPDX-License-Identifier: Apache-2.0
"""`weaken --strategy keep`: what is drawn stays in every n-th slice; the others are as if nobody had drawn in them."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.data.checks.dataset import check_dataset
from wss_monai.data.datalist import list_cases
from wss_monai.data.schema import read_dataset
from wss_monai.transforms import LoadCased, WeakTagsd


@pytest.fixture
def data(tmp_path):
    return make_dataset(tmp_path / "data", patients=2, slices=7)


def keep(data, out, *words):
    return main(["weaken", "--data", str(data), "--strategy", "keep", "--out", str(out), *words])


def drawn(folder):
    """The weak label and slice tags of each case, slices first."""
    out = {}
    for case in list_cases(read_dataset(folder)):
        found = WeakTagsd(4, 2)(LoadCased(num_classes=4)(case))
        out[case["case"]] = found["weak_label"].numpy()[0].transpose(2, 0, 1), found["slice_tags"].numpy(), found
    return out


def edit(data, change):
    content = json.loads((data / "dataset.json").read_text())
    change(content)
    (data / "dataset.json").write_text(json.dumps(content))


def test_every_third_slice_of_the_scribbles(data, tmp_path, capsys):
    assert keep(data, tmp_path / "third", "--option", "every=3") == 0
    total = 0
    for case, (weak, tags, _) in drawn(tmp_path / "third").items():
        before, before_tags, _ = drawn(data)[case]
        kept = np.flatnonzero((weak != 255).any(axis=(1, 2)))
        assert kept[0] < 3 and set(np.diff(kept)) == {3} and kept[-1] > 3
        np.testing.assert_array_equal(weak[kept], before[kept])
        np.testing.assert_array_equal(tags[kept], before_tags[kept])
        others = np.setdiff1d(np.arange(7), kept)
        assert (weak[others] == 255).all()
        assert (tags[others] == -1).all(), "nobody has looked at these slices: unknown, not absent"
        total += len(kept)
    assert f"{total} of 14 slices with a drawing kept" in capsys.readouterr().out
    new, old = read_dataset(tmp_path / "third"), read_dataset(data)
    assert new.undrawn_means_absent and new.weak_values == old.weak_values
    assert new.raw["weak_label"]["made_with"] == {
        "strategy": "keep",
        "seed": 0,
        "slice_axis": 2,
        "options": {"every": 3},
    }
    assert not check_dataset(tmp_path / "third").problems


def test_the_seed_says_which_slice_is_the_first(data, tmp_path):
    first = []
    for seed in range(6):
        keep(data, tmp_path / str(seed), "--option", "every=3", "--seed", str(seed))
        first += [int((weak != 255).any(axis=(1, 2)).argmax()) for weak, _, _ in drawn(tmp_path / str(seed)).values()]
    assert set(first) == {0, 1, 2}
    keep(data, tmp_path / "again", "--option", "every=3", "--seed", "5")
    for case, (weak, _, _) in drawn(tmp_path / "again").items():
        np.testing.assert_array_equal(weak, drawn(tmp_path / "5")[case][0])


def test_boxes_keep_what_they_mean(data, tmp_path):
    main(["weaken", "--data", str(data), "--strategy", "box", "--out", str(tmp_path / "boxes")])
    assert keep(tmp_path / "boxes", tmp_path / "half", "--option", "every=2") == 0
    assert read_dataset(tmp_path / "half").raw["weak_label"]["made_with"]["of"]["strategy"] == "box"
    for case, (weak, tags, found) in drawn(tmp_path / "half").items():
        before, before_tags, whole = drawn(tmp_path / "boxes")[case]
        boxes, all_boxes = (np.asarray(each["boxes"]) > 0 for each in (found, whole))
        kept = np.flatnonzero(boxes.any(axis=(0, 1, 2)))
        assert len(kept) in (3, 4)
        np.testing.assert_array_equal(boxes[..., kept], all_boxes[..., kept])
        np.testing.assert_array_equal(weak[kept], before[kept])
        np.testing.assert_array_equal(tags[kept], before_tags[kept])
        others = np.setdiff1d(np.arange(7), kept)
        assert (weak[others] == 255).all() and (tags[others] == -1).all(), "no background around boxes nobody drew"


def test_values_and_cases_of_their_own(data, tmp_path):
    """0 is unlabelled in one case, by its own meaning; another case has no weak label and stays as it is."""
    file = data / "scribbles" / "p0_ED.nii.gz"
    image = nib.load(file)
    values = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(np.where(values == 255, 0, values + 1).astype(np.int16), image.affine), file)

    def change(content):
        own = {"0": "unlabelled", "1": "background", "2": "RV", "3": "Myo", "4": "LV"}
        both = {case["case"]: case for case in content["training"] + content["test"]}
        both["p0_ED"]["weak_labels"] = {"values": own}
        del both["p1_ED"]["weak_label"]

    edit(data, change)
    before = drawn(data)
    assert keep(data, tmp_path / "out", "--option", "every=7") == 0
    stored = np.asarray(nib.load(tmp_path / "out" / "weak_labels" / "p0_ED.nii.gz").dataobj)
    assert (stored.any(axis=(0, 1)).sum(), stored.max()) == (1, 4)
    weak, _, _ = drawn(tmp_path / "out")["p0_ED"]
    kept = (weak != 255).any(axis=(1, 2))
    np.testing.assert_array_equal(weak[kept], before["p0_ED"][0][kept])
    assert not (tmp_path / "out" / "weak_labels" / "p1_ED.nii.gz").exists()
    np.testing.assert_array_equal(drawn(tmp_path / "out")["p1_ED"][0], before["p1_ED"][0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--option every=3"),
        (["--option", "every=0"], "--option every=3"),
        (["--option", "every=1.5"], "--option every=3"),
        (["--option", "every=true"], "--option every=3"),
        (["--option", "every=third"], "--option every=3"),
        (["--option", f"every={10**22}"], "--option every=3"),
        (["--option", "every=2", "--option", "radius=1"], "--option every=3"),
        (["--option", "every=2", "--background"], "leave out --background"),
        (["--option", "every=2", "--slice-axis", "none"], "--slice-axis none"),
        (["--option", "every=2", "--preview", "a.png"], "--preview"),
    ],
)
def test_wrong_words(data, tmp_path, capsys, words, message):
    assert keep(data, tmp_path / "out", *words) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_kept_by_slices(data, tmp_path, capsys):
    edit(data, lambda content: content["weak_label"]["values"].pop("255"))
    assert keep(data, tmp_path / "out", "--option", "every=2") != 0
    assert "no value of its weak label means 'unlabelled'" in capsys.readouterr().err

    def undrawn(content):
        for case in content["training"] + content["test"]:
            del case["weak_label"]

    edit(data, undrawn)
    assert keep(data, tmp_path / "out", "--option", "every=2") != 0
    assert "no case has a 'weak_label' to thin out" in capsys.readouterr().err


def test_values_without_a_meaning_are_not_kept(data, tmp_path, capsys):
    image = nib.load(data / "scribbles" / "p0_ED.nii.gz")
    values = np.where(np.asarray(image.dataobj) == 3, 77, np.asarray(image.dataobj))
    nib.save(nib.Nifti1Image(values.astype(np.uint8), image.affine), data / "scribbles" / "p0_ED.nii.gz")
    assert keep(data, tmp_path / "out", "--option", "every=2") == 1
    assert "p0_ED.nii.gz holds the values [77], which 'weak_label.values' in" in capsys.readouterr().err
    assert [case["case"] for case in list_cases(read_dataset(tmp_path / "out"))] == ["p1_ED"]


def test_where_nothing_is_drawn_there_is_nothing_to_keep(data, tmp_path, capsys):
    for file in (data / "scribbles").iterdir():
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.full(image.shape, 255, np.uint8), image.affine), file)
    assert keep(data, tmp_path / "out", "--option", "every=2") == 2
    assert "no slice of any weak label shows a drawing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_case_that_fails_is_named(data, tmp_path, capsys):
    flat = nib.load(data / "scribbles" / "p0_ED.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(flat.dataobj)[..., 0], flat.affine), data / "scribbles" / "p0_ED.nii.gz")
    assert keep(data, tmp_path / "out", "--option", "every=2") == 1
    said = capsys.readouterr()
    assert "p0_ED" in said.out + said.err and "three axes" in said.out + said.err
    assert [case["case"] for case in list_cases(read_dataset(tmp_path / "out"))] == ["p1_ED"]
