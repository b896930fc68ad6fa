# SPDX-License-Identifier: Apache-2.0
"""Settings mean what they say: words become values, impossible values are refused by name before anything is made."""

from pathlib import Path

import pytest
import torch
from test_overrides import check, message, place  # noqa: F401 - the fixture acts by its name
from tiny import ROOT

from wss_monai.bundle.setting_values import settle_values

KNOWN = {
    "resume": False,
    "batch_size": 8,
    "learning_rate": 0.002,
    "pixdim": [1.25, 1.25, -1.0],
    "crop": [256, 256, -1],
    "stretch": None,
    "stretch_mode": "linear",
    "percentiles": [0.5, 99.0],
    "levels": None,
    "device": "$torch.device('cpu')",
    "output_dir": "$'runs'",
    "seed": 0,
    "validation": 0.125,
    "size_weight": {"quadratic": 0.3},
    "keep_largest": "$@class_names == []",
    "class_names": ["background", "RV"],
    "augment": {"flips": [], "keep_tags": False},
    "compile": False,
    "pseudo_pieces": "any",
    "workers": 0,
    "stated_sizes": {},
    "size_bounds": {"LV": [10, 20]},
    "modes": ["full"],
}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"resume": "false"}, {"resume": False}),
        ({"resume": "True"}, {"resume": True}),
        ({"keep_largest": "FALSE"}, {"keep_largest": False}),
        ({"augment": {"keep_tags": "true"}}, {"augment#keep_tags": True}),
        ({"learning_rate": "1e-3"}, {"learning_rate": 0.001}),
        ({"size_weight": {"quadratic": "3e-1"}}, {"size_weight#quadratic": 0.3}),
        ({"pixdim": ["1e0", 1.5, -1]}, {"pixdim": [1, 1.5, -1]}),
        ({"batch_size": "4"}, {"batch_size": 4}),
        ({"batch_size": 4.0}, {"batch_size": 4}),
        ({"crop": [64.0, 64, -1]}, {"crop": [64, 64, -1]}),
        ({"stretch": [64.0, 64, -1], "levels": "256"}, {"stretch": [64, 64, -1], "levels": 256}),
        ({"stretch": "null", "percentiles": ["0", 100]}, {"stretch": None, "percentiles": [0, 100]}),
        ({"output_dir": "~/runs/x"}, {"output_dir": str(Path("~/runs/x").expanduser())}),
        ({"validation": "2"}, {}),  # the name of a fold
        ({"validation": "fold2"}, {}),
        ({"batch_size": "$2 * 4", "resume": "@again", "learning_rate": "%other.yaml::rate"}, {}),
        ({"device": torch.device("cpu"), "class_names": ["background", "a"]}, {}),
    ],
    ids=str,
)
def test_words_become_the_values_that_they_name(given, meant):
    assert settle_values(given, KNOWN) == meant


def test_a_device_is_named_by_its_word():
    (value,) = settle_values({"device": "cuda:1"}, KNOWN).values()
    assert eval(value.removeprefix("$")) == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"resume": "maybe"}, "'--resume' must be true or false; got 'maybe'"),
        ({"resume": 5}, "'--resume' must be true or false; got 5"),
        ({"keep_largest": 1}, "'--keep_largest' must be true or false"),
        ({"augment": {"keep_tags": "no"}}, "'--augment#keep_tags' must be true or false"),
        ({"batch_size": "x"}, "'--batch_size' must be a whole number of at least 1; got 'x'"),
        ({"batch_size": 1.5}, "'--batch_size' must be a whole number"),
        ({"batch_size": 0}, "'--batch_size' must be a whole number"),
        ({"batch_size": True}, "'--batch_size' must be a whole number"),
        ({"learning_rate": -1}, "'--learning_rate' must be a number above 0"),
        ({"learning_rate": float("nan")}, "'--learning_rate' must be a finite number"),
        ({"learning_rate": 1e30}, "'--learning_rate' must be a number above 0"),
        ({"seed": "abc"}, "'--seed' must be a whole number from 0"),
        ({"seed": -1}, "'--seed' must be a whole number from 0"),
        ({"seed": 10**30}, "'--seed' must be a whole number from 0"),
        ({"pixdim": "x"}, "'--pixdim' must be 2 or 3 edges"),
        ({"pixdim": [1e-6, 1e-6, -1.0]}, "'--pixdim' must be 2 or 3 edges"),
        ({"pixdim": [float("nan")] * 3}, "'--pixdim' must be a finite number"),
        ({"pixdim": [1.0]}, "'--pixdim' must be 2 or 3 edges"),
        ({"crop": [10**9, 64, 1]}, "'--crop' must be 3 whole numbers"),
        ({"crop": [64.5, 64, 1]}, "'--crop' must be 3 whole numbers"),
        ({"crop": [1, 2]}, "'--crop' must be 3 whole numbers"),
        ({"stretch": [256, 256]}, "'--stretch' must be 3 whole numbers"),
        ({"stretch_mode": "cubic"}, "'--stretch_mode' must be nearest, linear or aligned"),
        ({"percentiles": [99, 1]}, "'--percentiles' must be two rising numbers from 0 to 100"),
        ({"percentiles": [0, 101]}, "'--percentiles' must be two rising numbers"),
        ({"levels": 1}, "'--levels' must be a whole number of at least 2"),
        ({"device": "foo"}, "'--device' must be cpu, cuda"),
        ({"class_names": 5}, "'--class_names' must be a list"),
        ({"class_names": ["background"]}, "'--class_names' must be a list of at least two"),
        ({"class_names": ["background", "a", "a"]}, "'--class_names' must be a list of at least two different"),
        ({"output_dir": 202401}, "'--output_dir' must be a path"),
        ({"compile": {"mod": "default"}}, "'--compile' must be true, false or arguments of torch.compile"),
        ({"pseudo_pieces": "some"}, "'--pseudo_pieces' must be any, one or all; got 'some'"),
        ({"workers": [1, 2]}, "'--workers' must be a number; got [1, 2]"),
        ({"workers": "many"}, "'--workers' must be a number; got 'many'"),
        ({"stated_sizes": None}, "'--stated_sizes' must be names with values, {NAME: ...}; got None"),
        ({"size_bounds": 5}, "'--size_bounds' must be names with values, {LV: ...}; got 5"),
        ({"modes": "full"}, "'--modes' must be a list; got 'full'"),
    ],
    ids=str,
)
def test_impossible_values_are_refused_by_name(given, words):
    with pytest.raises(ValueError, match=r"^setting") as caught:
        settle_values(given, KNOWN)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_workflow_computes_with_the_settled_values():
    flow = check("train.yaml", resume="false", learning_rate="1e-3", device="cpu", crop=[96.0, 96, -1])
    for name, value in {"resume": False, "learning_rate": 0.001, "device": torch.device("cpu")}.items():
        assert flow.parser.get_parsed_content(name) == value
    assert flow.parser.get_parsed_content("crop") == [96, 96, -1]
    assert flow.parser.get_parsed_content("amp_dtype") in (torch.bfloat16, torch.float16)
    assert "'--resume' must be true or false" in message("train.yaml", resume="maybe")


@pytest.mark.parametrize(
    "bundle", sorted(path.name for path in (ROOT / "bundles").iterdir() if (path / "configs").is_dir())
)
def test_the_defaults_of_every_bundle_pass(bundle):
    check(ROOT / "bundles" / bundle / "configs" / "train.yaml")
