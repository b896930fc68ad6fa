# SPDX-License-Identifier: Apache-2.0
"""The threshold chosen on validation patients."""

from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine

from wss_monai.handlers import CAMThreshold
from wss_monai.transforms import CAMLogits

# voxels of one volume: score and label
SCORE = torch.tensor([0.0, 0.1, 0.3, 0.3, 0.45, 0.6, 0.6, 0.9]).reshape(1, 2, 2, 2)
LABEL = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).reshape(1, 2, 2, 2)


def run(handler: CAMThreshold, *cases, collated: bool = False) -> Engine:
    def step(engine, batch):
        engine.state.batch = batch[0]
        return batch[1]

    engine = Engine(step)
    handler.attach(engine)
    if collated:
        items = {key: [case[0][key] for case in cases] for key in cases[0][0]}
        items["label"] = torch.stack(items["label"])
        engine.run([(items, {"pred": torch.stack([case[1]["pred"] for case in cases])})])
    else:
        engine.run([([item], [output]) for item, output in cases])
    return engine


def case(name: str, score=SCORE, label=LABEL):
    return {"case": name, "patient": name.split("_")[0], "label": label}, {"pred": score}


def test_by_hand(tmp_path, capsys):
    """At 0.2 all six are foreground, Dice 8/10; from 0.3 on four; from 0.45 three; from 0.6 one."""
    handler = CAMThreshold(tmp_path, [0.2, 0.3, 0.4, 0.5, 0.7, 0.9])
    engine = run(handler, case("p1_ED"), case("p1_ES"), case("p2"))
    content = json.loads((tmp_path / "threshold.json").read_text())
    assert content["dice"] == pytest.approx(
        {"0.2": 0.8, "0.3": 1.0, "0.4": 1.0, "0.5": 6 / 7, "0.7": 0.4, "0.9": 0.0}, abs=1e-5
    )
    assert content["threshold"] == 0.4  # of two that are equal the one next to a half
    assert content["cases"] == ["p1_ED", "p1_ES", "p2"] and content["patients"] == ["p1", "p2"]
    assert "dense labels" in content["chosen_on"]
    assert engine.state.metrics["threshold"] == 0.4 and engine.state.metrics["threshold_dice"] == 1.0
    assert "threshold 0.4 (Dice 1.000 on 3 volumes of 2 patients with dense labels)" in capsys.readouterr().out
    assert torch.equal(CAMLogits(tmp_path / "threshold.json")(SCORE).argmax(0, keepdim=True), LABEL)


def test_the_mean_is_over_volumes(tmp_path):
    """A volume whose foreground all has a low score draws the threshold down, whatever its size."""
    small = torch.tensor([0.12, 0.0]).reshape(1, 2, 1, 1), torch.tensor([1, 0]).reshape(1, 2, 1, 1)
    handler = CAMThreshold(tmp_path)
    run(handler, case("a"), case("b", *small))
    content = handler.choose()
    assert len(content["dice"]) == 19 and content["threshold"] == 0.1
    assert content["dice"]["0.1"] == pytest.approx((0.8 + 1) / 2) and content["dice"]["0.3"] == 0.5


def test_a_collated_batch_is_the_same(tmp_path):
    engine = run(CAMThreshold(tmp_path), case("a"), case("b", SCORE * 0.5), collated=True)
    other = run(CAMThreshold(tmp_path), case("a"), case("b", SCORE * 0.5))
    assert engine.state.metrics == other.state.metrics
    assert json.loads((tmp_path / "threshold.json").read_text())["cases"] == ["a", "b"]


def test_unlabelled_voxels_and_cases_are_passed_over(tmp_path):
    partly = torch.where(SCORE == 0.9, 255, LABEL)
    run(CAMThreshold(tmp_path, [0.4, 0.5]), case("a", label=partly), case("b", label=torch.full_like(LABEL, 255)))
    content = json.loads((tmp_path / "threshold.json").read_text())
    assert content["cases"] == ["a"] and content["dice"] == pytest.approx({"0.4": 1, "0.5": 0.8})


def test_empty_volumes_count_by_the_convention_of_dice(tmp_path):
    empty = torch.zeros_like(LABEL)
    run(CAMThreshold(tmp_path, [0.5]), case("a", torch.zeros_like(SCORE), empty), case("b", SCORE, empty))
    assert json.loads((tmp_path / "threshold.json").read_text())["dice"] == {"0.5": 0.5}


def test_no_dense_label_is_refused(tmp_path):
    for item in (case("a", label=torch.full_like(LABEL, 255)), ({"case": "a"}, {"pred": SCORE})):
        with pytest.raises(ValueError, match=r"no validation case has a dense label.*'otsu'"):
            run(CAMThreshold(tmp_path), item)
    assert not (tmp_path / "threshold.json").exists()


def test_messages(tmp_path):
    with pytest.raises(ValueError, match=r"both must be .* on one grid"):
        run(CAMThreshold(tmp_path), case("a", SCORE[..., :1]))
    with pytest.raises(ValueError, match="'pred' must be a score in"):
        run(CAMThreshold(tmp_path), case("a", SCORE * 3))
    for wrong in ([], [0.0, 0.5], [1.0]):
        with pytest.raises(ValueError, match="thresholds must be numbers between 0 and 1"):
            CAMThreshold(tmp_path, wrong)
