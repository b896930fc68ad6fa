# SPDX-License-Identifier: Apache-2.0
"""The overlay that states what is known of the heart's anatomy."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from tiny import user_error

from wss_monai.__main__ import main

TRAIN = ("train.yaml", "anatomy.yaml")
ALL = ["ratio", "distance", "contact", "enclosure", "pieces", "border"]


@pytest.mark.parametrize("mode", ["quadratic", "logbarrier", "constrained", "pseudo"])
def test_each_is_a_term_of_each_mode(run_bundle, mode):
    flow, out = run_bundle(*TRAIN, mode=mode)
    loss = flow.parser.get_parsed_content("loss")
    assert [name for name in loss.terms if name in ALL] == ALL
    weight = {"quadratic": 0.3, "logbarrier": 0.003, "constrained": 0.03, "pseudo": 0.3}[mode]
    assert {loss.weights[name] for name in ALL} == {weight}
    for row in csv.DictReader((out / "metrics.csv").open()):
        assert all(math.isfinite(float(row[f"{what}_{name}"])) for name in ALL for what in ("loss", "violation"))
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "constant"


def test_some_are_chosen_and_evaluated(run_bundle):
    settings = {"mode": "pseudo", "anatomy": ["contact", "pieces"], "anatomy_bounds#contact": {"RV": [None, 1000]}}
    flow, out = run_bundle(*TRAIN, **settings)
    assert list(flow.parser.get_parsed_content("loss").terms) == ["partial", "pseudo", "contact", "pieces"]
    run_bundle(*TRAIN, "evaluate.yaml", out=out, **settings)
    rows = list(csv.DictReader((out / "evaluation" / "constraints.csv").open()))
    assert {row["term"] for row in rows} == {"size", "contact", "pieces"}
    contact = [row for row in rows if row["term"] == "contact"]
    assert {(row["class"], row["unit"], float(row["upper"]), row["state"]) for row in contact} == {
        ("RV", "mm", 1000, "slack")
    }


def test_none_is_the_mode_itself(run_bundle):
    flow, out = run_bundle(*TRAIN, mode="pseudo", anatomy=[])
    assert list(flow.parser.get_parsed_content("loss").terms) == ["partial", "pseudo"]
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "none"


def fitted(folder, out, *words):
    words = [*words, "--dense", "3", "--validation", "0", "--out", str(out)]
    assert main(["bounds", "--fit", str(folder), *words]) == 0
    return str(out)


def test_estimated_on_dense_patients(run_bundle, dataset, tmp_path):
    """The bounds of the run are those of the file, and records say where they come from."""
    file = fitted(dataset, tmp_path / "b.json", "--terms", "ratio:LV", "enclosure:Myo", "pieces")
    settings = {"mode": "pseudo", "anatomy": ["ratio", "enclosure"], "anatomy_from": "estimated", "bounds_file": file}
    _, out = run_bundle(*TRAIN, **settings)
    assert json.loads((out / "run.json").read_text())["bounds_origin"] == "estimated (k=3)"
    run_bundle(*TRAIN, "evaluate.yaml", out=out, **settings)
    rows = [row for row in csv.DictReader((out / "evaluation" / "constraints.csv").open()) if row["term"] == "ratio"]
    lower, upper = json.loads(Path(file).read_text())["terms"]["ratio"]["classes"]["Myo"]["interval"]
    found = [row for row in rows if row["class"] == "Myo"]
    assert found and {row["origin"] for row in found} == {"estimated (k=3)"}
    for row in found:
        assert (float(row["lower"]), float(row["upper"])) == (pytest.approx(lower), pytest.approx(upper))


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["ratio:LV"], {"anatomy": ["ratio", "contact"]}, "holds ['ratio:LV'], not 'contact:LV'; fit it with --terms"),
        (["enclosure:LV"], {"anatomy": ["enclosure"]}, "holds ['enclosure:LV'], not 'enclosure:Myo'"),
        (["pieces"], {"anatomy": ["pieces"], "anatomy_from": "guessed"}, "anatomy_from must be 'constant' or"),
    ],
)
def test_a_file_that_does_not_say_it_is_refused(run_bundle, dataset, tmp_path, words, settings, message):
    file = fitted(dataset, tmp_path / "b.json", "--terms", *words)
    with pytest.raises(Exception) as error:
        run_bundle(*TRAIN, mode="pseudo", bounds_file=file, **{"anatomy_from": "estimated", **settings})
    assert message in user_error(error.value)


def test_an_interval_that_is_none_is_refused(run_bundle, dataset, tmp_path):
    file = tmp_path / "b.json"
    fitted(dataset, file, "--terms", "pieces")
    content = json.loads(file.read_text())
    content["terms"]["pieces"]["classes"]["LV"]["interval"] = [3, 1]
    file.write_text(json.dumps(content))
    settings = {"mode": "pseudo", "anatomy": ["pieces"], "anatomy_from": "estimated", "bounds_file": str(file)}
    with pytest.raises(Exception) as error:
        run_bundle(*TRAIN, **settings)
    assert "'terms.pieces.classes.LV.interval' must be [lower, upper]" in user_error(error.value)


def test_an_unknown_word_is_refused(run_bundle):
    with pytest.raises(Exception) as error:
        run_bundle(*TRAIN, mode="pseudo", anatomy=["contacts"])
    assert "anatomy must be one of" in user_error(error.value) and "did you mean 'contact'" in user_error(error.value)


def test_where_it_would_do_nothing_it_is_refused(run_bundle):
    with pytest.raises(Exception) as error:
        run_bundle(*TRAIN, mode="partial")
    assert "anatomy acts in the modes" in user_error(error.value) and "nothing in 'partial'" in user_error(error.value)
