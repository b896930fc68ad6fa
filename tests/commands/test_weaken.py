# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from wss_monai.__main__ import main
from wss_monai.commands.weaken import NAMES
from wss_monai.commands.words import parse_options
from wss_monai.data.datalist import load_cases
from wss_monai.data.schema import read_dataset
from wss_monai.functional.weak.generators import present_classes
from wss_monai.transforms.weak_labels import STRATEGIES, WeakLabeld

ANGLE = np.deg2rad(20)
OBLIQUE = np.array(
    [
        [1.5 * np.cos(ANGLE), -1.5 * np.sin(ANGLE), 0, -20],
        [1.5 * np.sin(ANGLE), 1.5 * np.cos(ANGLE), 0, 35],
        [0, 0, 8, 7],
        [0, 0, 0, 1],
    ]
)


def dense(shift):
    """File values 0, 5 (core) and 9 (rim)."""
    label = np.zeros((24, 20, 5), np.int16)
    label[4 + shift : 16 + shift, 4:16, 1:4] = 9
    label[7 + shift : 13 + shift, 7:13, 1:4] = 5
    return label


@pytest.fixture
def data(tmp_path):
    """Two oblique volumes with dense labels, and a third with a weak label alone."""
    folder = tmp_path / "data"
    cases = []
    for i in range(3):
        case = {"patient": f"p{i}", "case": f"c{i}", "image": f"images/c{i}.nii.gz", "centre": "A"}
        image = np.random.RandomState(i).rand(24, 20, 5).astype(np.float32)
        kind = "label" if i < 2 else "weak_label"
        case[kind] = f"{kind}s/c{i}.nii.gz"
        for file, volume in ((case["image"], image), (case[kind], dense(i))):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(volume, OBLIQUE), folder / file)
        cases.append(case)
    content = {
        "name": "oblique",
        "labels": {"0": "background", "5": "core", "9": "rim"},
        "slice_axis": 2,
        "licence": "none",
        "weak_label": {"kind": "scribble", "values": {"0": "unlabelled", "5": "core", "9": "rim"}},
        "training": cases[:1] + cases[2:],
        "test": cases[1:2],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def weaken(data, out, *words, strategy="points"):
    return main(["weaken", "--data", str(data), "--out", str(out), "--strategy", strategy, *words])


def read(out, case="c0"):
    return np.asarray(nib.load(out / "weak_labels" / f"{case}.nii.gz").dataobj)


def indices(shift=0):
    return np.select([dense(shift) == 5, dense(shift) == 9], [1, 2], 0).astype(np.uint8)


def test_end_to_end(data, tmp_path, capsys):
    out, picture = tmp_path / "weak", tmp_path / "look" / "weak.png"
    assert weaken(data, out, "--background", "--option", "radius=1", "--preview", str(picture)) == 0
    for case, shift in (("c0", 0), ("c1", 1)):
        image = nib.load(out / "weak_labels" / f"{case}.nii.gz")
        weak = read(out, case)
        assert image.get_data_dtype() == np.uint8 and np.allclose(image.affine, OBLIQUE, atol=1e-6)
        assert weak.shape == (24, 20, 5)
        assert np.array_equal(weak[weak != 255], indices(shift)[weak != 255])
        assert np.array_equal(present_classes(weak, 3, 2), present_classes(indices(shift), 3, 2))
        assert all((weak == k).sum() == 9 * slices for k, slices in ((0, 5), (1, 3), (2, 3)))
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["core", "216", "54", "25.00"] in rows and ["rim", "648", "54", "8.33"] in rows
    assert "1 cases without a dense label lost the weak label they had" in printed
    assert "2 weak labels; undrawn means absent: true" in printed
    panel = Image.open(picture)
    assert panel.size[0] > panel.size[1] / 2 > 100


def test_the_new_data_set_can_be_trained_on(data, tmp_path):
    out = tmp_path / "deep" / "weak"
    weaken(data, out, "--seed", "3", "--option", "number=2", "--option", "per_component=true")
    new, old = read_dataset(out), read_dataset(data)
    section = new.raw["weak_label"]
    assert section["kind"] == "points" and new.undrawn_means_absent
    assert section["made_with"] == {
        "strategy": "points",
        "seed": 3,
        "slice_axis": 2,
        "options": {"number": 2, "per_component": True},
    }
    assert new.weak_values == {0: "background", 1: "core", 2: "rim", 255: "unlabelled"}
    assert new.raw["licence"] == "none" and new.training[0]["centre"] == "A"
    assert new.training[0]["image"] == "../../data/images/c0.nii.gz"
    assert new.file_of(new.test[0], "label") == old.file_of(old.test[0], "label")
    assert "weak_label" not in new.training[1] and "label" not in new.training[1]
    case = load_cases(out, validation=0).training[0]
    assert case["weak_values"] == {0: 0, 1: 1, 2: 2, 255: 255}
    assert case["weak_label"] == str((out / "weak_labels" / "c0.nii.gz").resolve())


def test_the_file_holds_what_the_transform_would_draw(data, tmp_path):
    weaken(data, tmp_path / "weak", "--seed", "5", strategy="scribble_interior")
    simulate = WeakLabeld(strategy="scribble_interior", slice_axis=2, seed=5)
    for case, shift in (("c0", 0), ("c1", 1)):
        expected = simulate({"case": case, "label": indices(shift)[None]})["weak_label"][0]
        assert np.array_equal(read(tmp_path / "weak", case), expected)
    weaken(data, tmp_path / "again", "--seed", "5", strategy="scribble_interior")
    weaken(data, tmp_path / "other", "--seed", "6", strategy="scribble_interior")
    assert np.array_equal(read(tmp_path / "again"), read(tmp_path / "weak"))
    assert not np.array_equal(read(tmp_path / "other"), read(tmp_path / "weak"))


@pytest.mark.parametrize(
    ("strategy", "words", "absent"),
    [
        ("erosion", [], True),
        ("erosion", ["--slice-axis", "none"], False),
        ("erosion", ["--slice-axis", "0"], False),
        ("erosion", ["--option", "classes=[1]"], False),
        ("box", [], True),
        ("sparse_slices", ["--option", "number=1"], False),
    ],
)
def test_undrawn_means_absent_only_where_every_class_is_drawn_in_every_slice(data, tmp_path, strategy, words, absent):
    weaken(data, tmp_path / "weak", *words, strategy=strategy)
    assert read_dataset(tmp_path / "weak").undrawn_means_absent is absent
    if strategy != "box":  # whose map holds sets of classes
        shown, drawn = (present_classes(volume, 3, 2)[:, 1:] for volume in (indices(), read(tmp_path / "weak")))
        assert not absent or np.array_equal(shown, drawn)


def test_slice_axis_none_draws_in_3d(data, tmp_path):
    weaken(data, tmp_path / "weak", "--slice-axis", "none")
    assert [(read(tmp_path / "weak") == k).sum() for k in (0, 1, 2)] == [0, 1, 1]


def test_every_strategy_is_listed_in_the_help():
    assert NAMES.split(", ") == [*STRATEGIES, "random_walker", "keep"]


def test_options_are_json():
    words = ["radius=2", "length=[0.3, 0.6]", "background=true", "classes = [1,2]"]
    assert parse_options(words) == {"radius": 2, "length": [0.3, 0.6], "background": True, "classes": [1, 2]}
    assert parse_options(["seeds=points", "lacking = background"]) == {"seeds": "points", "lacking": "background"}
    for word in ("radius", "radius=2 mm", "=3x"):
        with pytest.raises(ValueError, match=f"--option must be KEY=VALUE .* got '{word}'"):
            parse_options([word])


@pytest.mark.parametrize(
    ("words", "strategy", "message"),
    [
        ([], "point", "strategy must be one of random_blob"),
        (["--option", "radios=1"], "points", "has no option radios; it has classes"),
        (["--option", "number=0"], "points", "case 'c0', "),
    ],
)
def test_errors_are_one_line_and_leave_no_data_set(data, tmp_path, capsys, words, strategy, message):
    assert weaken(data, tmp_path / "weak", *words, strategy=strategy) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "weak" / "dataset.json").exists()


def test_a_data_set_is_never_overwritten(data, capsys):
    before = (data / "dataset.json").read_text()
    assert weaken(data, data) == 2
    assert "holds a dataset.json already" in capsys.readouterr().err
    assert (data / "dataset.json").read_text() == before


def test_a_value_that_is_no_class_is_refused_and_the_other_cases_are_done(data, tmp_path, capsys):
    assert weaken(data, tmp_path / "whole") == 0
    nib.save(nib.Nifti1Image(dense(0) + 1, OBLIQUE), data / "labels" / "c0.nii.gz")
    capsys.readouterr()
    assert weaken(data, tmp_path / "weak") == 1
    said = capsys.readouterr()
    assert "case 'c0': " in said.err and "holds the values [1, 6, 10], which dataset.json" in said.err
    assert "1 case failed: left out of" in said.err and "1 weak labels" in said.out
    found = read_dataset(tmp_path / "weak")
    assert [case["case"] for case in found.training + found.test] == ["c2", "c1"]
    assert [file.name for file in (tmp_path / "weak" / "weak_labels").iterdir()] == ["c1.nii.gz"]
    assert np.array_equal(read(tmp_path / "weak", "c1"), read(tmp_path / "whole", "c1"))


def test_nothing_appears_where_no_label_can_be_used(data, tmp_path, capsys):
    for case in ("c0", "c1"):
        nib.save(nib.Nifti1Image(dense(0) + 1, OBLIQUE), data / "labels" / f"{case}.nii.gz")
    before = sorted(tmp_path.iterdir())
    assert weaken(data, tmp_path / "weak") == 2
    assert "case 'c0': " in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_files_of_a_user_are_not_written_over(data, tmp_path, capsys):
    mine = tmp_path / "weak" / "weak_labels" / "c1.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_text("drawn by hand")
    assert weaken(data, tmp_path / "weak") == 2
    assert "c1.nii.gz' is there already" in capsys.readouterr().err
    assert [file for file in (tmp_path / "weak").rglob("*") if file.is_file()] == [mine]
    assert mine.read_text() == "drawn by hand"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert weaken(data, tmp_path / "other") == 0
    assert (tmp_path / "other" / "notes.txt").read_text() == "mine"
    assert len(read_dataset(tmp_path / "other").training) == 2


def test_other_formats_are_read(data, tmp_path):
    content = json.loads((data / "dataset.json").read_text())
    assert weaken(data, tmp_path / "plain") == 0
    for case in content["training"] + content["test"]:
        for key in ("image", "label"):
            if isinstance(case.get(key), str):
                other = case[key].replace(".nii.gz", ".mha" if key == "image" else ".nrrd")
                sitk.WriteImage(sitk.ReadImage(str(data / case[key])), str(data / other))
                case[key] = other
    (data / "dataset.json").write_text(json.dumps(content))
    assert weaken(data, tmp_path / "other", "--preview", str(tmp_path / "seen.png")) == 0
    assert json.loads((tmp_path / "other" / "dataset.json").read_text())["files_outside"] is True
    made = sorted((tmp_path / "plain" / "weak_labels").iterdir())
    assert made
    for file in made:
        first, second = nib.load(file), nib.load(tmp_path / "other" / "weak_labels" / file.name)
        assert np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
        np.testing.assert_allclose(first.affine, second.affine, atol=1e-5)


def test_a_data_set_without_dense_labels_is_refused(data, tmp_path, capsys):
    content = json.loads((data / "dataset.json").read_text())
    content["training"], content["test"] = content["training"][1:], []
    (data / "dataset.json").write_text(json.dumps(content))
    assert weaken(data, tmp_path / "weak") == 2
    assert "no case has a dense 'label'" in capsys.readouterr().err


def test_a_label_beside_its_image_is_left_out_and_named(data, tmp_path, capsys):
    label = data / "labels" / "c0.nii.gz"
    moved = nib.load(label)
    affine = moved.affine.copy()
    affine[0, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(moved.dataobj), affine), label)
    assert weaken(data, tmp_path / "out", strategy="erosion") == 1
    said = "".join(capsys.readouterr())
    assert "another grid" in said and "c0.nii.gz" in said
    assert not (tmp_path / "out" / "weak_labels" / "c0.nii.gz").exists()
    assert (tmp_path / "out" / "weak_labels" / "c1.nii.gz").is_file()


def test_the_random_walker_grows_what_another_strategy_draws(data, tmp_path):
    """Bright discs on dark ground: from points the walker finds them; drawn voxels stay, slices are full."""
    for case, shift in (("c0", 0), ("c1", 1)):
        noise = np.random.RandomState(shift).rand(24, 20, 5) * 0.1
        image = np.array([0.0, 1.0, 0.5])[indices(shift)] + noise
        nib.save(nib.Nifti1Image(image.astype(np.float32), OBLIQUE), data / "images" / f"{case}.nii.gz")
    drawn, grown = tmp_path / "drawn", tmp_path / "grown"
    points = ("--option", "number=3", "--option", "radius=1")
    assert weaken(data, drawn, "--background", *points) == 0
    words = ("--option", "seeds=points", "--option", "beta=500")
    assert weaken(data, grown, *points, *words, strategy="random_walker") == 0
    for case, shift in (("c0", 0), ("c1", 1)):
        seeds, weak = read(drawn, case), read(grown, case)
        assert np.array_equal(weak[seeds != 255], seeds[seeds != 255])
        assert (weak != 255).all() and (weak == indices(shift)).mean() > 0.97
    section = read_dataset(grown).raw["weak_label"]
    assert section["kind"] == "random_walker" and section["undrawn_means_absent"]
    assert section["made_with"]["options"] == {"number": 3, "radius": 1, "seeds": "points", "beta": 500}
    assert load_cases(grown, ["background", "core", "rim"], validation=0).training


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (['seeds="box"'], "seeds=box: the random walker starts from what is drawn"),
        (['lacking="all"'], "lacking must be one of"),
        (["lacking=all"], "lacking must be one of ['drawn', 'background', 'unlabelled'], got 'all'"),
        (["beta=0"], "beta"),
        (["beta=nan"], "beta must be a positive number, got 'nan'"),
        (["width=thick"], "option width must be a whole number or a list of such, got 'thick'"),
        (["sharp=2"], "strategy 'scribble' has no option sharp"),
    ],
)
def test_wrong_options_of_the_random_walker(data, tmp_path, capsys, words, message):
    code = weaken(data, tmp_path / "out", *[w for word in words for w in ("--option", word)], strategy="random_walker")
    assert code != 0 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
