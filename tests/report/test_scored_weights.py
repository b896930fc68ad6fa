# SPDX-License-Identifier: Apache-2.0
"""Scores under the weights that they are of, and a word where they are not."""

from __future__ import annotations

import hashlib

import pytest

from wss_monai.report.facts import notices
from wss_monai.report.run_folder import Run
from wss_monai.report.scored_weights import scored_others


def run_of(folder, **summary):
    return Run(folder, "partial", {"class_names": ["background", "a"]}, summary={"dice": {"mean": 1.0}, **summary})


@pytest.mark.parametrize("name", ["model.pt", "model_best.pt"])
def test_the_weights_in_the_folder_are_compared_with_those_that_were_scored(tmp_path, name):
    (tmp_path / name).write_bytes(b"weights")
    run = run_of(tmp_path, weights={"file": name, "sha256": hashlib.sha256(b"weights").hexdigest()})
    assert scored_others(run) == "" and not [text for kind, text in notices([run]) if kind == "warning"]
    (tmp_path / name).write_bytes(b"of a later run")
    assert f"not those of {name} as it is now" in scored_others(run)
    assert [text for kind, text in notices([run]) if kind == "warning"] == [f"partial: {scored_others(run)}"]
    (tmp_path / name).unlink()
    assert f"{name}, which are not there any more" in scored_others(run)


@pytest.mark.parametrize("weights", [None, "model.pt", {}, {"file": "model.pt"}, {"sha256": 5}])
def test_scores_that_say_nothing_of_weights_are_taken_as_they_are(tmp_path, weights):
    (tmp_path / "model.pt").write_bytes(b"weights")
    assert scored_others(run_of(tmp_path, weights=weights)) == ""


def test_cases_that_failed_are_named(tmp_path):
    found = notices([run_of(tmp_path, failed={"p1": "cut off", "p2": "no numbers"})])
    assert ("warning", "partial: 2 cases failed and have no scores: p1 and p2.") in found
