# SPDX-License-Identifier: Apache-2.0
"""The overlay that states what is known of the heart's anatomy."""

from __future__ import annotations

import csv
import json
import math

import pytest
from tiny import user_error

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


def test_an_unknown_word_is_refused(run_bundle):
    with pytest.raises(Exception) as error:
        run_bundle(*TRAIN, mode="pseudo", anatomy=["contacts"])
    assert "anatomy must be one of" in user_error(error.value) and "did you mean 'contact'" in user_error(error.value)


def test_where_it_would_do_nothing_it_is_refused(run_bundle):
    with pytest.raises(Exception) as error:
        run_bundle(*TRAIN, mode="partial")
    assert "anatomy acts in the modes" in user_error(error.value) and "nothing in 'partial'" in user_error(error.value)
