# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from wss_monai.data.schema import read_dataset, write_dataset


def content(folder: Path, **changes) -> dict:
    """A valid description with two cases; their files are made."""
    for name in ("a.nii.gz", "b.nii.gz", "a_scribble.nii.gz"):
        (folder / name).write_bytes(b"never opened")
    whole = {
        "name": "two hearts",
        "labels": {"0": "background", "2": "LV", "1": "RV"},
        "weak_label": {"kind": "scribble", "values": {"1": "background", "3": "LV", "0": "unlabelled"}},
        "training": [
            {"patient": "p1", "image": "a.nii.gz", "label": "a.nii.gz", "weak_label": "a_scribble.nii.gz", "age": 40},
            {"case": "second", "patient": "p2", "image": ["a.nii.gz", "b.nii.gz"], "group": "DCM", "phase": "ED"},
        ],
    }
    return {**whole, **changes}


def first(folder: Path, **changes) -> dict:
    """A valid description whose first case is changed; None takes a key away."""
    whole = content(folder)
    case = {**whole["training"][0], **changes}
    whole["training"][0] = {key: value for key, value in case.items() if value is not None}
    return whole


def write(folder: Path, whole) -> Path:
    (folder / "dataset.json").write_text(whole if isinstance(whole, str) else json.dumps(whole))
    return folder


def test_a_data_set_is_read(tmp_path):
    dataset = read_dataset(write(tmp_path, content(tmp_path, note="kept")))
    assert dataset.name == "two hearts"
    assert dataset.root == tmp_path
    assert dataset.path == tmp_path / "dataset.json"
    assert dataset.labels == {0: "background", 2: "LV", 1: "RV"}
    assert dataset.class_names == ["background", "RV", "LV"]
    assert dataset.slice_axis == 2
    assert dataset.weak_kind == "scribble"
    assert dataset.weak_values == {1: "background", 3: "LV", 0: "unlabelled"}
    assert dataset.undrawn_means_absent is False
    assert [case["case"] for case in dataset.training] == ["a", "second"]
    assert dataset.training[0]["age"] == 40
    assert dataset.test == []
    assert dataset.raw["note"] == "kept"
    assert dataset.file_of(dataset.training[0], "label") == str(tmp_path / "a.nii.gz")
    assert dataset.file_of(dataset.training[1], "image") == [str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]
    assert dataset.file_of(dataset.training[1], "weak_label") is None


def test_the_file_itself_can_be_named(tmp_path):
    write(tmp_path, content(tmp_path))
    assert read_dataset(tmp_path / "dataset.json").path == read_dataset(str(tmp_path)).path


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("key", ["image", "label", "weak_label"])
def test_paths_out_of_the_folder_need_leave(tmp_path, key, absolute):
    inner = tmp_path / "inner"
    inner.mkdir()
    content(tmp_path)
    path = str(tmp_path / "a.nii.gz") if absolute else "images/../../a.nii.gz"
    whole = first(inner, **{"case": "x", key: path})
    with pytest.raises(ValueError, match=rf"case 'x' .*'{key}' names '{path}', which lies outside .*files_outside"):
        read_dataset(write(inner, whole))
    with pytest.raises(ValueError, match="'files_outside' must be true or false, got 'yes'"):
        read_dataset(write(inner, whole | {"files_outside": "yes"}))
    dataset = read_dataset(write(inner, whole | {"files_outside": True}))
    assert dataset.file_of(dataset.training[0], key) == str(tmp_path / "a.nii.gz")


def test_a_folder_that_is_a_link_and_absolute_paths_into_the_folder_are_fine(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    write(folder, first(folder, image=str(tmp_path / "link" / "a.nii.gz"), label=str(folder / "a.nii.gz")))
    assert read_dataset(tmp_path / "link").root == folder


def test_an_image_may_be_a_folder(tmp_path):
    (tmp_path / "series" / "p1").mkdir(parents=True)
    dataset = read_dataset(write(tmp_path, first(tmp_path, image="series/p1")))
    assert dataset.training[0]["case"] == "p1"
    for key, path in (("label", "series/p1"), ("image", ".")):
        with pytest.raises(FileNotFoundError, match=f"'{key}' names a missing file"):
            read_dataset(write(tmp_path, first(tmp_path, **{"case": "x", key: path})))


def test_a_case_says_what_its_weak_label_means(tmp_path):
    own = {"kind": "box", "values": {"5": "RV"}, "segments": {"Left ventricle": "LV"}, "undrawn_means_absent": True}
    dataset = read_dataset(write(tmp_path, first(tmp_path, weak_labels=own)))
    meaning = dataset.weak_of(dataset.training[0])
    assert (meaning.kind, meaning.values, meaning.undrawn_means_absent) == ("box", {5: "RV"}, True)
    assert meaning.segments == {"Left ventricle": "LV"}
    part = dataset.weak_of({**dataset.training[0], "weak_labels": {"undrawn_means_absent": True}})
    assert (part.kind, part.values, part.undrawn_means_absent) == ("scribble", dataset.weak_values, True)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "scribble"),
        ({"weak_label": None}, "dense"),
        ({"weak_label": None, "label": None}, "nothing"),
        ({"weak_label": None, "label": None, "tags": [1, 1, 0]}, "tags"),
        ({"weak_label": None, "label": None, "slice_tags": [[1, 1, 0]]}, "tags"),
        ({"weak_label": None, "weak_labels": {"kind": "nothing"}}, "nothing"),
        ({"weak_label": None, "weak_labels": {"kind": "tags"}, "tags": [1, 1, 0]}, "tags"),
        ({"weak_labels": {"kind": "dense"}}, "dense"),
        ({"weak_label": None, "weak_labels": {"values": {"1": "LV"}}}, "dense"),
    ],
)
def test_the_kind_of_a_case(tmp_path, changes, kind):
    dataset = read_dataset(write(tmp_path, first(tmp_path, **changes)))
    assert dataset.weak_of(dataset.training[0]).kind == kind


def test_names_of_segments(tmp_path):
    whole = first(tmp_path, segments={"b": "RV"})
    dataset = read_dataset(write(tmp_path, whole | {"segments": {"a": "LV"}}))
    assert dataset.segments_of(dataset.training[0]) == {"b": "RV"}
    assert dataset.segments_of(dataset.training[1]) == {"a": "LV"}


def test_a_case_with_labels_of_its_own(tmp_path):
    own = {"0": "background", "7": "LV", "3": "RV", "5": "background"}
    dataset = read_dataset(write(tmp_path, first(tmp_path, labels=own)))
    assert dataset.labels_of(dataset.training[0]) == {0: "background", 7: "LV", 3: "RV", 5: "background"}
    assert dataset.labels_of(dataset.training[1]) == dataset.labels
    assert dataset.class_names == ["background", "RV", "LV"]


def test_names_of_single_cases_come_last(tmp_path):
    own = {"0": "background", "4": "aorta", "1": "RV", "2": "LV"}
    assert read_dataset(write(tmp_path, first(tmp_path, labels=own))).class_names == ["background", "RV", "LV", "aorta"]


def test_values_may_share_a_name(tmp_path):
    labels = {"0": "background", "1": "LV", "2": "RV", "3": "LV"}
    assert read_dataset(write(tmp_path, content(tmp_path, labels=labels))).class_names == ["background", "LV", "RV"]


def test_label_maps_without_images_and_tags(tmp_path):
    whole = first(tmp_path, image=None, tags=[1, 0, -1], slice_tags=[[1, 1, 0], [1, 0, 0]])
    dataset = read_dataset(write(tmp_path, whole))
    assert dataset.training[0]["case"] == "a"
    assert dataset.training[0]["slice_tags"] == [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "'name' must be a text, got 3"),
        ({"labels": ["background", "LV"]}, "'labels' must be an object"),
        ({"labels": {"background": 0, "LV": 1}}, r"must map file values to class names.*'background': 0"),
        ({"labels": {"1": "LV"}}, "value 0 must be 'background', it is missing"),
        ({"labels": {"0": "Background", "1": "LV"}}, "value 0 must be 'background', it is 'Background'"),
        ({"labels": {"0": "background", "1": "unlabelled"}}, "'unlabelled' is no class"),
        ({"slice_axis": 3}, "'slice_axis' must be 0, 1 or 2.*got 3"),
        ({"slice_axis": True}, "'slice_axis' must be 0, 1 or 2.*got True"),
        ({"weak_label": "scribble"}, "'weak_label' must be an object with 'kind' and 'values'"),
        ({"weak_label": {"kind": "scribble"}}, "'weak_label' must be an object with 'kind' and 'values'"),
        ({"weak_label": {"kind": "box", "values": {"1": "MYO"}}}, r"'weak_label.values' names \['MYO'\]"),
        (
            {"weak_label": {"kind": "box", "values": {"1": "LV"}, "undrawn_means_absent": "yes"}},
            "undrawn_means_absent' must be true or false, got 'yes'",
        ),
        (
            {"weak_label": {"kind": "boxes", "values": {"1": "LV"}}},
            "kind': write 'box' in place of 'boxes'",
        ),
        ({"weak_label": {"kind": 3, "values": {"1": "LV"}}}, "'weak_label' must be an object with 'kind'"),
        ({"weak_label": {"kind": "x", "segments": {"a": "MYO"}}}, r"'weak_label.segments' names \['MYO'\]"),
        ({"weak_label": {"kind": "x", "segments": ["a"]}}, "'weak_label.segments' must map names of segments"),
        ({"segments": {"a": "unlabelled"}}, r"'segments' names \['unlabelled'\], which are no class"),
        ({"weak_label": None}, r"case 'a' \(training\[0\]\): has a 'weak_label', but the file does not say"),
        ({"training": {}}, "'training' must be a list of cases, got dict"),
        ({"training": ["a.nii.gz"]}, r"training\[0\]: must be an object, got str"),
        (
            {"test": [{"patient": "p3", "case": "second", "image": "b.nii.gz"}]},
            r"'second': test\[0\] has the same case id as training\[1\]",
        ),
        ({"test": [{"patient": "p3"}]}, r"test\[0\]: has no 'image', 'label' or 'case'"),
    ],
)
def test_a_broken_data_set_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        read_dataset(write(tmp_path, content(tmp_path, **changes)))
    assert str(tmp_path / "dataset.json") in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patient": None}, r"case 'a' \(training\[0\]\): has no 'patient' \(got None\)"),
        ({"patient": None, "patinet": "p"}, r"has no 'patient' \(got None; did you misspell it as 'patinet'\?\)"),
        ({"case": 5}, r"training\[0\]: 'case' must be a text without slashes.* got 5"),
        ({"case": "../a"}, "'case' must be a text without slashes.* got '../a'"),
        ({"case": ""}, "'case' must be a text without slashes.* got ''"),
        ({"patient": 12}, r"has no 'patient' \(got 12\)"),
        ({"group": 1}, "'group' must be a text, got 1"),
        ({"phase": []}, r"'phase' must be a text, got \[\]"),
        ({"image": 5}, "'image' must be a path, got 5"),
        ({"image": []}, r"'image' must be a path, got \[\]"),
        ({"label": ["a.nii.gz"]}, r"'label' must be a path, got \['a.nii.gz'\]"),
        ({"labels": {"1": "LV"}}, r"case 'a' \(training\[0\]\): 'labels': value 0 must be 'background'"),
        (
            {"tags": [1, 0]},
            r"'tags' must be 3 values out of 1 .* in the order \['background', 'RV', 'LV'\]; got \[1, 0\]",
        ),
        ({"weak_labels": "scribbles"}, r"'weak_labels' must be an object with any of \['kind', 'values'"),
        ({"weak_labels": {"kinds": "box"}}, r"'weak_labels' must be an object with any of \['kind', 'values'"),
        ({"weak_labels": {"kind": "nothing"}}, "is 'nothing', but the case has a 'weak_label'; take one away"),
        ({"weak_labels": {"kind": "points"}, "weak_label": None}, "is 'points', but the case has no 'weak_label'; add"),
        ({"weak_labels": {"kind": "tags"}, "weak_label": None}, "is 'tags', but the case has no 'tags' or 'slice_t"),
        ({"weak_labels": {"kind": "dense"}, "weak_label": None, "label": None}, "but the case has no 'label'; add it"),
        ({"weak_labels": {"values": {"1": "MYO"}}}, r"case 'a' .*: 'weak_labels.values' names \['MYO'\]"),
        ({"segments": {"a": "MYO"}}, r"case 'a' .*: 'segments' names \['MYO'\]"),
        ({"tags": [1, 0, 2]}, r"'tags' must be 3 values.*got \[1, 0, 2\]"),
        ({"tags": [1, 0, True]}, "'tags' must be 3 values"),
        ({"slice_tags": [1, 0, 1]}, "'slice_tags' row 0 must be 3 values"),
        ({"slice_tags": [[1, 0, 1], [1, 0]]}, "'slice_tags' row 1 must be 3 values"),
        ({"slice_tags": []}, "'slice_tags' must be a list with one row a slice"),
    ],
)
def test_a_broken_case_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_dataset(write(tmp_path, first(tmp_path, **changes)))


@pytest.mark.parametrize("key", ["image", "label", "weak_label"])
def test_a_missing_file_is_named_with_case_and_key(tmp_path, key):
    with pytest.raises(FileNotFoundError, match=rf"case '.' \(training\[0\]\): '{key}' names a missing file 'c.ni"):
        read_dataset(write(tmp_path, first(tmp_path, **{key: "c.nii.gz"})))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not a JSON file"), ("[]", "must hold a JSON object, got list"), ("{}", r"missing \['name', 'labels', 'tr")],
)
def test_a_file_that_is_no_description(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_dataset(write(tmp_path, text))


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data set folder '.*nowhere'.*synthesize cardiac.*prepare acdc"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no dataset.json in"):
        read_dataset(tmp_path)


def test_writing_and_reading_again(tmp_path):
    whole = content(tmp_path, name="Herzen für zwei")
    file = write_dataset(tmp_path, whole)
    assert file == tmp_path / "dataset.json"
    assert read_dataset(tmp_path).raw == whole
    assert "für" in file.read_text(encoding="utf-8")


def test_writing_what_is_broken_leaves_the_old_file(tmp_path):
    file = write_dataset(tmp_path, content(tmp_path))
    before = file.read_text()
    with pytest.raises(ValueError, match="'patient'"):
        write_dataset(tmp_path, first(tmp_path, patient=None))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_dataset(tmp_path, content(tmp_path, weight=float("nan")))
    assert file.read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "a_scribble.nii.gz", "b.nii.gz", "dataset.json"]


def test_a_failed_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    whole = content(tmp_path)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(tmp_path, whole)
    assert not list(tmp_path.glob("*dataset.json*")) + list(tmp_path.glob(".dataset*"))


@pytest.mark.parametrize(
    ("name", "cases", "classes", "weak"),
    [
        ("acdc", 80, 4, "scribble"),
        ("brats2013_flair_t1c", 3, 5, None),
        ("hippocampus", 60, 3, None),
        ("open_ms_mni", 2, 2, None),
        ("prostate_isbi2013_case", 1, 3, "scribble"),
        ("prostate_zones", 22, 3, None),
        ("sct_multicontrast", 6, 2, None),
        ("tcga_lgg_silver", 1, 4, None),
        ("totalseg_example", 2, 65, None),
    ],
)
def test_real_data_sets_are_readable(real_data, name, cases, classes, weak):
    dataset = read_dataset(real_data(name))
    assert (len(dataset.training), len(dataset.class_names), dataset.weak_kind) == (cases, classes, weak)
