# SPDX-License-Identifier: Apache-2.0
"""What stored labels mean, the settings of an app, and its folder."""

from __future__ import annotations

import re

import pytest
import yaml

from wss_monai.__main__ import main
from wss_monai.label_app.cases import stored_cases
from wss_monai.label_app.settings import AppSettings, read_settings

NAMES = ["background", "LV", "RV"]


class Store:
    def __init__(self, labels, ending=".nii.gz"):
        self.labels, self.ending = labels, ending

    def list_images(self):
        return ["b_1", "a_1", "a_2"]

    def get_image_uri(self, image_id):
        return f"/studies/{image_id}.nii.gz"

    def get_label_by_image_id(self, image_id, tag):
        return image_id if image_id in self.labels and tag == "final" else ""

    def get_label_uri(self, label_id, label_tag):
        return f"/studies/labels/{label_tag}/{label_id}{self.ending}"

    def get_label_info(self, label_id, label_tag):
        return {"label_info": [{"name": name, "idx": 9} for name in self.labels[label_id]]}


def test_the_nth_name_that_was_sent_is_the_value_n():
    given = stored_cases(Store({"a_1": ["rv", "Outside", "LV"]}), NAMES, AppSettings())
    (case,) = given["training"]
    assert case == {
        "case": "a_1",
        "patient": "a_1",
        "image": "/studies/a_1.nii.gz",
        "weak_label": "/studies/labels/final/a_1.nii.gz",
        "weak_labels": {"values": {"0": "unlabelled", "1": "RV", "2": "background", "3": "LV"}},
    }
    assert given["weak_label"]["values"] == {"0": "background", "1": "LV", "2": "RV", "255": "unlabelled"}


def test_patients_and_images_without_labels():
    own = AppSettings(patient=re.compile("(?P<patient>.)_.*"))
    cases = stored_cases(Store({"b_1": ["lv"]}), NAMES, own, without_labels=True)["training"]
    assert [(case["case"], case["patient"], "weak_label" in case) for case in cases] == [
        ("a_1", "a", False),
        ("a_2", "a", False),
        ("b_1", "b", True),
    ]
    with pytest.raises(ValueError, match="whole id of the image 'a_1'"):
        stored_cases(Store({"b_1": []}), NAMES, AppSettings(patient=re.compile("(?P<patient>b)_.*")), True)


def test_complete_labels_name_all_classes_and_know_no_outside():
    own = AppSettings(submitted="complete")
    (case,) = stored_cases(Store({"a_1": ["rv"]}), NAMES, own)["training"]
    assert case["labels"] == {"0": "background", "1": "RV", "2": "LV"}
    assert case["label"].endswith("final/a_1.nii.gz")
    with pytest.raises(ValueError, match="segment 'outside'"):
        stored_cases(Store({"a_1": ["outside"]}), NAMES, own)


def test_segmentations_are_read_by_their_names():
    (case,) = stored_cases(Store({"a_1": ["lv", "outside"]}, ".seg.nrrd"), NAMES, AppSettings())["training"]
    table = {"LV": "LV", "lv": "LV", "RV": "RV", "rv": "RV", "outside": "background"}
    assert case["weak_labels"] == {"kind": "scribble", "segments": table}
    own = AppSettings(submitted="complete")
    (case,) = stored_cases(Store({"a_1": ["lv"]}, ".seg.nrrd"), NAMES, own)["training"]
    assert case["segments"] == {"LV": "LV", "lv": "LV", "RV": "RV", "rv": "RV"}


def test_labels_without_names_have_the_values_of_the_settings():
    own = AppSettings(values={0: "unlabelled", 1: "outside", 2: "LV"})
    (case,) = stored_cases(Store({"a_1": []}), NAMES, own)["training"]
    assert case["weak_labels"] == {"values": {"0": "unlabelled", "1": "background", "2": "LV"}}
    (case,) = stored_cases(Store({"a_1": []}), NAMES, AppSettings())["training"]
    assert "weak_labels" not in case


def write(folder, text):
    (folder / "app.yaml").write_text(text)
    return folder


def test_settings_are_read(tmp_path):
    assert read_settings(tmp_path) == AppSettings()
    own = read_settings(
        write(tmp_path, "values: {0: unlabelled, 2: LV}\nbundles: {weak_2d: {overlays: [cpu.yaml], endings: [_a, _b]}}")
    )
    assert own.values == {0: "unlabelled", 2: "LV"}
    assert own.bundles["weak_2d"].overlays == ("cpu.yaml",)
    assert own.bundles["weak_2d"].endings == ("_a", "_b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("submited: drawing", "did you mean 'submitted'"),
        ("submitted: all", "must be one of"),
        ("outside: Background", "which 3D Slicer's module drops"),
        ("undrawn_means_absent: 1", "true or false"),
        ("values: {a: LV}", "must map file values"),
        ("patient: '(?P<patient'", "no regular expression"),
        ("patient: 'a.*'", "no group of this name"),
        ("bundles: [weak_2d]", "must be names with values"),
        ("bundles: {weak_2d: {setting: {}}}", "did you mean 'settings'"),
        ("bundles: {weak_2d: {overlays: cpu.yaml}}", "must be a list of texts"),
        ("- a", "must be names with values"),
    ],
)
def test_what_is_wrong_with_settings_is_said(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        read_settings(write(tmp_path, text))


def bundle(folder, name="weak"):
    (folder / name / "configs").mkdir(parents=True)
    (folder / name / "configs" / "metadata.json").write_text("{}")
    (folder / name / "bundle.yaml").write_text("")
    return str(folder / name)


def test_the_command_makes_a_folder_whose_settings_can_be_read(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text('dataset_dir: x\nmode: "partial"\nsize_bounds: {"LV": [10, 600]}\n')
    (tmp_path / "model.pt").write_bytes(b"w")
    words = ["label-app", "--bundle", bundle(tmp_path), "--out", str(tmp_path / "app")]
    assert main([*words, "--settings", str(tmp_path / "mine.yaml"), "--weights", str(tmp_path / "model.pt")]) == 0
    assert "monailabel start_server" in capsys.readouterr().out
    own = read_settings(tmp_path / "app")
    assert own.bundles["weak"].settings == {"mode": "partial", "size_bounds": {"LV": [10, 600]}}
    assert yaml.safe_load((tmp_path / "app" / "app.yaml").read_text())["outside"] == "outside"
    model = tmp_path / "app" / "model" / "weak"
    assert (model / "models" / "model.pt").read_bytes() == b"w"
    assert not (model / "bundle.yaml").exists()
    assert "WeakLabelApp" in (tmp_path / "app" / "main.py").read_text()


def test_a_folder_is_refused_in_a_line(tmp_path, capsys):
    one, other = bundle(tmp_path), bundle(tmp_path, "other")
    out = str(tmp_path / "app")
    for words, told in (
        (["--bundle", str(tmp_path)], "is no bundle"),
        (["--bundle", one, one], "two bundles have one name"),
        (["--bundle", one, other, "--weights", "x"], "those of one bundle"),
        (["--bundle", one, "--weights", "x"], "no file 'x'"),
        (["--bundle", one, "--settings", "x"], "no file 'x'"),
    ):
        assert main(["label-app", "--out", out, *words]) == 2
        assert told in capsys.readouterr().err
    assert main(["label-app", "--out", one, "--bundle", other]) == 2
    assert "exists already" in capsys.readouterr().err
