# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import pickle

import nibabel as nib
import numpy as np
import pytest

from wss_monai.data.releases.localization_cues import prepare_localization_cues, read_listing, read_localization_cues

CUES = {
    "0_labels": np.array([15, 2]),
    "0_cues": np.array([[0, 0, 2, 15], [0, 40, 3, 4], [0, 1, 40, 7]]),
    "3_labels": np.array([1]),
    "3_cues": np.array([[0, 1, 1], [5, 6, 6], [5, 6, 7]]),
}


def cues(folder, packed=False, **changes):
    content = {name.lstrip("_"): value for name, value in changes.items()}
    content = {name: value for name, value in (CUES | content).items() if value is not None}
    data = pickle.dumps(content, 2)
    path = folder / ("cues.pickle.gz" if packed else "cues.pickle")
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_cues_become_maps(tmp_path, packed):
    (tmp_path / "list.txt").write_text("a/2007_000032.jpg 3\n2007_000039.jpg 0\n\nlast.jpg 9\n")
    done = prepare_localization_cues(cues(tmp_path, packed), tmp_path / "out", tmp_path / "list.txt")
    assert done.cases == 2 and [what for _, what in done.notes] == ["left out, no cues: 1 (last)"]
    assert json.loads((tmp_path / "out" / "cues.json").read_text()) == {
        "grid": [41, 41],
        "num_classes": 21,
        "no_cue": 255,
        "images": {
            "2007_000032": {"index": 3, "cues": "cues/2007_000032.nii.gz", "tags": [1]},
            "2007_000039": {"index": 0, "cues": "cues/2007_000039.nii.gz", "tags": [2, 15]},
        },
    }
    volume = nib.load(tmp_path / "out" / "cues" / "2007_000039.nii.gz")
    found = np.asarray(volume.dataobj)
    assert found.shape == (41, 41, 1) and volume.get_data_dtype() == np.uint8
    # (column, row): the last cue lies in row 4, column 7
    assert {tuple(at): int(found[tuple(at)]) for at in np.argwhere(found != 255)} == {
        (0, 0, 0): 0,
        (1, 40, 0): 0,
        (40, 3, 0): 2,
        (7, 4, 0): 15,
    }
    assert nib.aff2axcodes(volume.affine) == ("L", "P", "S")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_without_a_list_maps_are_named_by_index(tmp_path):
    done = prepare_localization_cues(cues(tmp_path, _0_labels=np.array([2, 15, 7])), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "cues").iterdir()) == ["0.nii.gz", "3.nii.gz"]
    assert done.notes == [("0", "tags without a cue: [7]")]


def test_another_grid_and_more_classes(tmp_path):
    path = cues(tmp_path, _3_labels=[80], _3_cues=np.array([[80], [6], [50]]))
    with pytest.raises(ValueError, match="cue in column 50 of 41; choose another --grid"):
        read_localization_cues(path, 81)
    found = read_localization_cues(path, 81, (51, 45))[3]
    assert found.index_map.shape == (51, 45) and found.index_map[50, 6] == 80 and found.tags == [80]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_3_cues": None}, "image 3 lacks its entry '3_cues'"),
        ({"_3_labels": None}, "image 3 lacks its entry '3_labels'"),
        ({"_3_labels": np.array([0, 1])}, r"'3_labels' holds the classes \[0\]; they must be from 1 to 20"),
        ({"_3_labels": np.array([1, 21])}, r"'3_labels' holds the classes \[21\]"),
        ({"_3_labels": np.array([[1]])}, r"'3_labels' must have one axis, got shape \(1, 1\)"),
        (
            {"_3_cues": np.array([0, 1, 1])},
            r"'3_cues' must have the rows class, row and column \(3, M\), got shape \(3,\)",
        ),
        ({"_3_cues": np.zeros((2, 3), int)}, r"'3_cues' must have.*got shape \(2, 3\)"),
        (
            {"_3_cues": np.array([[2], [0], [0]])},
            r"'3_cues' has cues of the classes \[2\], which are not in '3_labels' \[1\]",
        ),
        ({"_3_cues": np.array([[1], [-1], [0]])}, "'3_cues' has a cue in row -1 of 41"),
        ({"_3_cues": np.array([[1], [0], [41]])}, "'3_cues' has a cue in column 41 of 41"),
        ({"_3_cues": np.array([[1, 0, 0], [5, 6, 5], [7, 7, 7]])}, "'3_cues' gives row 5, column 7 to two classes"),
        ({"x_cues": np.zeros((3, 0), int)}, "entry 'x_cues' is neither"),
        ({"_03_cues": np.zeros((3, 0), int)}, "entry '03_cues' is neither"),
    ],
)
def test_cues_that_are_none(tmp_path, changes, message):
    path = cues(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as error:
        prepare_localization_cues(path, tmp_path / "out")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_same_cue_twice_and_none_at_all(tmp_path):
    path = cues(tmp_path, _0_cues=np.zeros((3, 0), int), _3_cues=np.array([[1, 1], [5, 5], [6, 6]]))
    found = read_localization_cues(path)
    assert (found[0].index_map == 255).all() and (found[3].index_map != 255).sum() == 1
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="holds no cues"):
        read_localization_cues(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"num_classes": 256}, "num_classes must be between 2 and 255, got 256"), ({"grid": (0, 41)}, r"got \[0, 41\]")],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_localization_cues(cues(tmp_path), **arguments)


def test_the_index_of_the_list_counts_and_without_it_the_line(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("b.jpg 1\na.jpg 0\n")
    assert read_listing(path) == {1: "b", 0: "a"}
    path.write_text("b.jpg\na.b.jpg\n")
    assert read_listing(path) == {0: "b", 1: "a.b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "in each line the name"),
        ("a.jpg 0\nb.jpg\n", "in each line the name"),
        ("a.jpg 0 1\n", "in each line the name"),
        ("a.jpg x\n", "line 1: 'x' is no index"),
        ("a.jpg 0\na.png 1\n", "line 2: image 'a' or index 1 stands there twice"),
        ("a.jpg 0\nb.png 0\n", "line 2: image 'b' or index 0 stands there twice"),
        ("../.. 0\n", r"line 1: '../..' is no name"),
        ("a.jpg 7\n", "no index of the list .* has cues"),
    ],
)
def test_bad_lists_are_named(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        prepare_localization_cues(cues(tmp_path), tmp_path / "out", path)
    assert not (tmp_path / "out").exists()


def test_missing_list_and_a_folder_that_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="--list: no file"):
        prepare_localization_cues(cues(tmp_path), tmp_path / "out", tmp_path / "list.txt")
    with pytest.raises(FileExistsError, match="exists already"):
        prepare_localization_cues(cues(tmp_path), tmp_path)
