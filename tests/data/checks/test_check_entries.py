# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from wss_monai.data.checks.entries import Entries, read_entries


def read(folder: Path, content) -> Entries:
    """Write files and a dataset.json, and read the latter."""
    for name in ("a.nii.gz", "b.nii.gz", "a_scribble.nii.gz"):
        (folder / name).write_bytes(b"never opened")
    file = folder / "dataset.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_entries(file)


def description(**changes) -> dict:
    whole = {
        "name": "two",
        "labels": {"0": "background", "1": "LV"},
        "weak_label": {"kind": "scribble", "values": {"0": "unlabelled", "1": "LV"}},
        "training": [
            {"patient": "p1", "image": "a.nii.gz", "weak_label": "a_scribble.nii.gz"},
            {"patient": "p2", "image": "b.nii.gz", "case": "second", "age": 4},
        ],
        "test": [],
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def says(entries: Entries) -> list[tuple[str, str, str]]:
    assert {p.severity for p in entries.problems} <= {"error"}
    assert all(p.todo for p in entries.problems)
    return [(p.kind, p.case, p.problem) for p in entries.problems]


def test_a_sound_file(tmp_path):
    entries = read(tmp_path, description())
    assert entries.problems == []
    assert [(e.name, e.patient, e.part, e.refused) for e in entries.entries] == [
        ("a", "p1", "training", frozenset()),
        ("second", "p2", "training", frozenset()),
    ]
    assert entries.entries[1].case["age"] == 4
    first = entries.entries[0]
    assert first.dataset.file_of(first.case, "weak_label") == str(tmp_path.resolve() / "a_scribble.nii.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "x", }', "is not a JSON file: "),
        ("", "is not a JSON file: "),
        ("[]", "must hold a JSON object, got list"),
    ],
)
def test_what_is_no_description_is_one_error(tmp_path, content, message):
    entries = read(tmp_path, content)
    assert len(entries.problems) == 1
    assert entries.problems[0].problem.startswith(message)
    assert entries.problems[0].file == "dataset.json"
    assert entries.entries == []


def test_everything_wrong_in_one_case_is_told_and_the_others_are_kept(tmp_path):
    broken = {
        "image": "gone.nii.gz",
        "label": "gone_too.nii.gz",
        "weak_label": "a_scribble.nii.gz",
        "group": 7,
        "tags": [1],
        "age": 50,
    }
    content = description()
    content["training"].insert(0, broken)
    entries = read(tmp_path, content)
    kinds = sorted((kind, case) for kind, case, _ in says(entries))
    assert kinds == [("format", "gone")] * 3 + [("missing", "gone")] * 2
    text = " ".join(problem for _, _, problem in says(entries))
    for part in ("'image' names a missing file", "'label' names", "'group' must be", "'tags' must be", "no 'patient'"):
        assert part in text
    assert [p.file for p in entries.problems if p.kind == "missing"] == ["gone.nii.gz", "gone_too.nii.gz"]
    assert [e.name for e in entries.entries] == ["gone", "a", "second"]
    kept = entries.entries[0]
    assert kept.patient is None
    assert kept.refused == {"image", "label", "group", "tags"}
    assert kept.case["weak_label"] == "a_scribble.nii.gz"
    assert kept.case["age"] == 50


def test_each_missing_modality_is_named(tmp_path):
    case = {"patient": "p", "image": ["no1.nii.gz", "a.nii.gz", "no2.nii.gz"]}
    entries = read(tmp_path, description(training=[case]))
    assert [p.file for p in entries.problems] == ["no1.nii.gz", "no2.nii.gz"]
    assert entries.entries[0].case["image"] == ["a.nii.gz"]
    assert "image" in entries.entries[0].refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "'name' is missing"),
        ({"name": 3}, "'name' must be a text, got 3"),
        ({"slice_axis": 5}, "'slice_axis' must be 0, 1 or 2"),
        ({"test": {}}, "'test' must be a list of cases, got dict"),
        ({"weak_label": "scribble"}, "'weak_label' must be an object"),
        ({"weak_label": {"kind": "s", "values": {"1": "RV"}}}, "'weak_label.values' names ['RV']"),
        ({"labels": {"1": "LV"}, "weak_label": None}, "'labels': value 0 must be 'background'"),
        ({"files_outside": "yes"}, "'files_outside' must be true or false"),
    ],
)
def test_a_fault_at_the_top_hides_no_case(tmp_path, changes, message):
    content = description(**changes)
    if "weak_label" not in content:
        del content["training"][0]["weak_label"]
    entries = read(tmp_path, content)
    assert len(entries.problems) == 1
    assert message in entries.problems[0].problem
    assert [e.name for e in entries.entries] == ["a", "second"]


def test_faults_at_the_top_and_in_cases_together(tmp_path):
    content = description(name=3, slice_axis="z", labels=["LV"])
    content["training"] += ["c.nii.gz", {"patient": "p9"}, {"patient": "p3", "case": "second", "image": "a.nii.gz"}]
    entries = read(tmp_path, content)
    assert [case for _, case, _ in says(entries)] == ["", "", "", "", "training[2]", "training[3]", "second"]
    assert not entries.labels_known
    assert not entries.weak_known  # its classes are none of the labels
    assert "has no 'image', 'label' or 'case'" in entries.problems[5].problem
    assert "training[4] has the same case id as training[1]" in entries.problems[6].problem


def test_no_case_at_all(tmp_path):
    assert says(read(tmp_path, description(training=[]))) == [("case", "", "'training' lists no case")]
    assert says(read(tmp_path, description(training=None))) == [("format", "", "'training' is missing")]


def test_classes_of_single_cases_may_be_named_by_the_weak_label(tmp_path):
    content = description(weak_label={"kind": "scribble", "values": {"0": "unlabelled", "1": "LV", "2": "aorta"}})
    content["training"][1]["labels"] = {"0": "background", "1": "LV", "4": "aorta"}
    assert read(tmp_path, content).problems == []


def test_a_case_with_a_weak_meaning_of_its_own(tmp_path):
    content = description(weak_label=None)
    content["training"][0]["weak_labels"] = {"kind": "points", "values": {"0": "unlabelled", "9": "LV"}}
    entries = read(tmp_path, content)
    assert entries.problems == []
    first = entries.entries[0]
    assert first.dataset.weak_of(first.case).values == {0: "unlabelled", 9: "LV"}
    content["training"][0] |= {"weak_labels": {"kind": "points", "values": {"9": "RV"}}, "group": 3}
    entries = read(tmp_path, content)
    assert sorted(problem for _, _, problem in says(entries))[0] == "'group' must be a text, got 3"
    assert "'weak_labels.values' names ['RV']" in sorted(problem for _, _, problem in says(entries))[1]


def test_a_file_outside_is_refused_where_the_file_does_not_allow_it(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "out.nii.gz").write_bytes(b"x")
    content = description()
    content["training"][0]["image"] = "../out.nii.gz"
    entries = read(inner, content)
    assert len(entries.problems) == 1
    assert "lies outside of the data set's folder" in entries.problems[0].problem
    assert read(inner, content | {"files_outside": True}).problems == []
