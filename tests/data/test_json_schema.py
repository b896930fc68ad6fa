# SPDX-License-Identifier: Apache-2.0
"""The schema for editors against the package's own rules, which decide."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from fuzz.ground import mutated
from jsonschema import Draft7Validator
from tiny import ROOT, make_dataset

from wss_monai.__main__ import main
from wss_monai.data import load_cases, read_dataset
from wss_monai.data.json_schema import dataset_schema
from wss_monai.data.schema import parse_dataset
from wss_monai.functional.weak.kinds import WeakKind

VALID = Draft7Validator(dataset_schema())
PAGE = ROOT / "docs" / "reference" / "dataset-json.md"


def content() -> dict[str, Any]:
    """A description with everything in it; all files are one, a.nii."""
    names = {"0": "background", "1": "RV", "2": "LV"}
    return {
        "$schema": "dataset.schema.json",
        "name": "two hearts",
        "labels": names,
        "modality": {"0": "MRI"},
        "slice_axis": 2,
        "segments": {"Left": "LV"},
        "files_outside": True,
        "weak_label": {
            "kind": "scribble",
            "values": {**names, "255": "unlabelled"},
            "segments": {"left": "LV", "note": "unlabelled"},
            "undrawn_means_absent": True,
        },
        "training": [
            {
                "case": "a1", "patient": "p1", "group": "DCM", "phase": "ED", "image": "a.nii", "label": "a.nii",
                "weak_label": "a.nii", "tags": [1, 1, 0], "slice_tags": [[1, -1, 0]],
            },
            {"patient": "p2", "image": ["a.nii", "a.nii"], "case": "b", "labels": names, "segments": {"x": "RV"}},
            {
                "case": "c", "patient": "p3", "image": "a.nii", "weak_label": "a.nii",
                "weak_labels": {"kind": "box", "values": {"0": "unlabelled", "4": ["RV", "LV"]}},
            },
        ],
        "test": [{"patient": "p4", "image": "a.nii"}],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.nii").touch()
    return tmp_path


def accepted(whole: Any, folder: Path) -> bool:
    """Whether the package takes it."""
    try:
        parse_dataset(whole, folder / "dataset.json")
    except (ValueError, OSError):
        return False
    return True


def test_the_schema_is_one_and_takes_everything(folder):
    Draft7Validator.check_schema(dataset_schema())
    assert accepted(content(), folder)
    assert not list(VALID.iter_errors(content()))


def test_it_takes_the_examples_of_the_page_and_generated_data(tmp_path):
    blocks = [json.loads(body) for body in re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)]
    examples = [block for block in blocks if isinstance(block.get("training", [""])[0], dict)]
    made = json.loads((make_dataset(tmp_path / "discs") / "dataset.json").read_text())
    assert len(examples) >= 2
    for example in (*examples, made):
        assert not list(VALID.iter_errors(example))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("name",), " "),
        (("labels",), {}),
        (("labels", "0"), "RV"),
        (("labels", "1"), "unlabelled"),
        (("labels", "1"), "a#b"),
        (("labels", "1"), "$x"),
        (("labels", "one"), "RV"),
        (("slice_axis",), 3),
        (("slice_axis",), None),
        (("files_outside",), "yes"),
        (("segments",), {"a": 1}),
        (("weak_label",), {"values": {"0": "background"}}),
        (("weak_label",), {"kind": "scribble"}),
        (("weak_label", "kind"), "boxes"),
        (("weak_label", "values"), {}),
        (("weak_label", "values", "4"), ["RV", "LV"]),
        (("weak_label", "undrawn_means_absent"), 1),
        (("training",), {}),
        (("training", 0), "a.nii"),
        (("training", 0, "patient"), None),
        (("training", 0, "case"), "a/b"),
        (("training", 0, "case"), "." * 3),
        (("training", 0, "image"), []),
        (("training", 0, "image"), 3),
        (("training", 0, "tags"), [1, 2, 0]),
        (("training", 0, "tags"), 1),
        (("training", 0, "slice_tags"), []),
        (("training", 0, "slice_tags"), [1, 1, 0]),
        (("training", 0, "group"), 4),
        (("training", 1, "labels"), {"1": "RV"}),
        (("training", 2, "weak_labels"), {"colour": 1}),
        (("training", 2, "weak_labels", "values", "4"), ["RV", "RV"]),
        (("training", 2, "weak_labels", "values", "4"), ["RV", "background"]),
        (("test",), None),
    ],
    ids=str,
)
def test_both_refuse(place, value, folder):
    whole = content()
    node: Any = whole
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    assert not accepted(whole, folder)
    assert [list(error.absolute_path) for error in VALID.iter_errors(whole)]


def test_of_random_changes_it_refuses_none_that_the_package_takes(folder):
    """And most of those that the package does not."""
    draw, refused, of = random.Random(0), 0, 0
    for _ in range(1500):
        told, whole = mutated(content(), draw)
        marked = not VALID.is_valid(whole)
        if accepted(whole, folder):
            assert not marked, told
        else:
            refused, of = refused + marked, of + 1
    assert of > 300 and refused > 0.75 * of, (refused, of)


def test_it_has_the_keys_of_the_page():
    schema, rows = dataset_schema(), []
    whole, case = PAGE.read_text(encoding="utf-8").split("### A case")
    for part in (whole, case.split("## ")[0]):
        cells = re.findall(r"^\| (`[\w.$, `]+`) \| ", part, re.M)
        rows.append({key for cell in cells for key in re.findall(r"`([\w.$]+)`", cell)})
    top = schema["properties"]
    weak = {f"weak_label.{key}" for key in top["weak_label"]["properties"]}
    assert rows[0] | {"modality", "test"} == {*top, *weak}
    assert rows[1] == {*schema["definitions"]["case"]["properties"]}
    words, spelt = (part.get("enum") or part["not"]["enum"] for part in schema["definitions"]["kind"]["anyOf"])
    assert {*words} == {kind.value for kind in WeakKind}
    assert {*spelt} == {word for kind in WeakKind for word in kind.traits.spelt}


def test_a_file_that_names_it_is_read_and_what_is_made_of_it_does_not(tmp_path):
    data = make_dataset(tmp_path / "discs")
    assert main(["schema", "--out", str(data / "dataset.schema.json")]) == 0
    assert json.loads((data / "dataset.schema.json").read_text()) == dataset_schema()
    whole = json.loads((data / "dataset.json").read_text())
    for link, kept in (("dataset.schema.json", False), ("https://example.org/dataset.schema.json", True)):
        (data / "dataset.json").write_text(json.dumps({"$schema": link, **whole}))
        assert read_dataset(data).raw["$schema"] == link and load_cases(data).training
        out = tmp_path / f"points_{kept}"
        assert main(["weaken", "--data", str(data), "--strategy", "points", "--out", str(out)]) == 0
        assert ("$schema" in json.loads((out / "dataset.json").read_text())) == kept


def test_the_command_prints_it_and_writes_over_no_other_file(tmp_path, capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == dataset_schema()
    (tmp_path / "dataset.json").write_text("{}")
    assert main(["schema", "--out", str(tmp_path / "dataset.json")]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "dataset.json").read_text() == "{}"
