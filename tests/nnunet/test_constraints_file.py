# SPDX-License-Identifier: Apache-2.0
"""The file that tells nnU-Net's trainer what is known of sizes."""

from __future__ import annotations

import importlib.util
import json

import pytest

import wss_monai.nnunet
from wss_monai.nnunet import read_constraints
from wss_monai.nnunet.constraints_file import VARIABLE, find_constraints

NAMES = ["background", "RV", "LV"]


def write(folder, content):
    file = folder / "constraints.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_what_it_says(tmp_path):
    given = read_constraints(write(tmp_path, {"size_bounds": {"LV": [20, None]}, "stated_sizes": {"LV": 140}}), NAMES)
    assert given.size_bounds == {"LV": [20, None]}
    assert (given.weight_of_size, given.weight_of_pseudo) == (0.003, 0.5)
    given = read_constraints(write(tmp_path, {"size_bounds": {"LV": [20, 30]}, "penalty": "quadratic"}), NAMES)
    assert (given.weight_of_size, given.weight_of_pseudo) == (0.3, 0.0)


def test_the_enforcer_and_its_settings(tmp_path):
    said = {"size_bounds": {"LV": [20, 30]}, "enforcer": "primal_dual", "enforcers": {"primal_dual": {"per": "set"}}}
    given = read_constraints(write(tmp_path, said), NAMES)
    penalty = given.make_penalty()
    assert (type(penalty).__name__, penalty.per, penalty.damping) == ("PrimalDual", "set", 0.1)  # damping: the bundles'
    assert given.weight_of_size == 0.3
    for name in ("quadratic", "relu", "logbarrier", "augmented_lagrangian"):
        made = read_constraints(write(tmp_path, {"size_bounds": {"LV": [20, 30]}, "enforcer": name}), NAMES)
        assert made.enforced_by == name and made.weight_of_size > 0 and callable(made.make_penalty())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "constraints.json"),
        ([], "JSON object"),
        ({}, "says nothing"),
        ({"sizebounds": {}}, "did you mean 'size_bounds'"),
        ({"size_bounds": {"Aorta": [1, 2]}}, "Aorta"),
        ({"size_bounds": {"background": [1, 2]}}, "background"),
        ({"size_bounds": [1, 2]}, "size_bounds must name classes"),
        ({"volume_bounds": {"LV": [3, 2]}}, "class 'LV' in volume_bounds cannot hold"),
        ({"volume_bounds": {"LV": "3"}}, "class 'LV'"),
        ({"stated_sizes": {"LV": 0}}, "stated_sizes of 'LV' must be a number above 0"),
        ({"stated_sizes": {"LV": 3}, "pseudo_weight": 0}, "pseudo-labels"),
        ({"size_bounds": {"LV": [1, 2]}, "penalty": "barrier"}, "penalty must be one of"),
        ({"size_bounds": {"LV": [1, 2]}, "enforcer": "duality"}, "enforcer must be one of"),
        ({"size_bounds": {"LV": [1, 2]}, "enforcer": "relu", "penalty": "relu"}, "penalty is the former name"),
        ({"size_bounds": {"LV": [1, 2]}, "enforcers": {"relu": 3}}, "enforcers must be an object such as"),
        ({"size_bounds": {"LV": [1, 2]}, "enforcers": {"dual": {}}}, "enforcers names ['dual']"),
        (
            {"size_bounds": {"LV": [1, 2]}, "enforcer": "primal_dual", "enforcers": {"primal_dual": {"speed": 1}}},
            "enforcers#primal_dual has settings that it does not take",
        ),
        (
            {"size_bounds": {"LV": [1, 2]}, "enforcer": "primal_dual", "enforcers": {"primal_dual": {"rate": -1}}},
            "rate must be",
        ),
        ({"size_bounds": {"LV": [1, 2]}, "size_weight": -1}, "size_weight"),
        ({"pseudo_weight": 1, "pseudo_start": 2}, "from 0 to 1"),
        ({"pseudo_weight": 1, "pseudo_pieces": "some"}, "pseudo_pieces"),
        ({"pseudo_weight": 1, "epochs": 0}, "epochs"),
        ({"pseudo_weight": 1, "set_size_count": 1.5}, "set_size_count"),
        ({"pseudo_weight": 1, "zoom": 1}, "zoom must be true or false"),
        ({"pseudo_weight": True}, "pseudo_weight"),
    ],
)
def test_what_cannot_be_is_refused_by_file_and_key(tmp_path, content, words):
    file = write(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        read_constraints(file, NAMES)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


def test_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        find_constraints(tmp_path / "a", None)
    file = write(tmp_path, {})
    assert find_constraints(tmp_path / "a", tmp_path) == file
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other.json"))
    with pytest.raises(FileNotFoundError, match="is no file"):
        find_constraints(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    assert find_constraints(tmp_path) == tmp_path / "other.json"


def test_without_nnunet_the_trainer_says_what_to_install():
    if importlib.util.find_spec("nnunetv2") is not None:
        assert wss_monai.nnunet.nnUNetTrainerConstrained.__name__ == "nnUNetTrainerConstrained"
    else:
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'nnunetv2>=2\.8'"):
            _ = wss_monai.nnunet.nnUNetTrainerConstrained
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = wss_monai.nnunet.other
