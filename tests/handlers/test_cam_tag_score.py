# SPDX-License-Identifier: Apache-2.0
"""Scores of the tags that raw activation maps of several modalities imply."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from wss_monai.handlers import CAMTagScore

NAMES = ["background", "prostate"]


def maps(*logits: list[float], each: int = 2) -> torch.Tensor:
    """Raw maps (M E, 2, 2, S) whose foreground minus background logits are given by modality and slice."""
    out = []
    for modality in logits:
        difference = torch.tensor(modality).expand(2, 2, -1) + torch.tensor([[1.0, -1.0], [2.0, -2.0]])[..., None]
        out += [torch.full_like(difference, 0.5), difference + 0.5, torch.full_like(difference, 9.0)][:each]
    return torch.stack(out)


def tags(*present: int) -> torch.Tensor:
    return torch.tensor([[1, tag] for tag in present])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def engine_of(score: CAMTagScore, as_metric: bool = True) -> Engine:
    def step(engine, batch):
        engine.state.batch = batch[0]
        return batch[1]

    engine = Engine(step)
    score.attach(engine, "score") if as_metric else score.attach(engine)
    return engine


@pytest.mark.parametrize("each", [2, 3])
def test_values_by_hand(each):
    score = CAMTagScore(NAMES, ["T2", "ADC"])
    raw = maps([2.0, 1.0, -3.0, 5.0], [0.0, -4.0, 1.0, 5.0], each=each)
    score.add(raw, tags(1, 0, 0, -1))
    fused = [(sigmoid(a) + sigmoid(b)) / 2 for a, b in ((2, 0), (1, -4), (-3, 1))]
    values = score.values()
    assert values["tag_ce"] == pytest.approx(-sum(map(math.log, (fused[0], 1 - fused[1], 1 - fused[2]))) / 3, rel=1e-5)
    assert values["tag_accuracy"] == 1.0
    assert (values["auc"], values["auc_T2"], values["auc_ADC"]) == (1.0, 1.0, 0.5)
    assert set(values) == {"tag_ce", "tag_accuracy", "auc", "auc_T2", "auc_ADC"}
    assert score.compute() == -values["tag_ce"]


def test_accuracy_as_the_key_is_the_mean_of_the_modalities_own():
    """T2 tells 2 of 3 tags (the fourth is unknown), ADC 1 of 3."""
    score = CAMTagScore(NAMES, ["T2", "ADC"], key="accuracy")
    assert score.compute() == 0
    score.add(maps([2.0, 1.0, -3.0, 5.0], [-1.0, 4.0, -1.0, 5.0]), tags(1, 0, 0, -1))
    values = score.values()
    assert values["tag_accuracy_T2"] == pytest.approx(2 / 3) and values["tag_accuracy_ADC"] == pytest.approx(1 / 3)
    assert score.compute() == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match=r"key .--chosen_by. must be 'ce' or 'accuracy', got 'dice'"):
        CAMTagScore(NAMES, 2, key="dice")


def test_one_modality_and_confident_ones():
    score = CAMTagScore(NAMES, 1)
    score.update((maps([0.7, -200.0])[None], tags(1, 1)[None]))
    assert score.values()["tag_ce"] == pytest.approx((math.log1p(math.exp(-0.7)) + 200) / 2, rel=1e-5)
    assert "auc" not in score.values()
    four = CAMTagScore(NAMES, 4)
    four.add(maps([300.0], [300.0], [300.0], [-300.0]), tags(0))
    assert four.values()["tag_ce"] == pytest.approx(math.log(4), rel=1e-5)


def test_other_axes_images_and_whole_volumes():
    raw, known = maps([2.0, 1.0, -3.0], [0.0, -4.0, 1.0]), tags(1, 0, 0)
    score = CAMTagScore(NAMES, 2)
    score.add(raw, known)
    for axis in (0, 1):
        other = CAMTagScore(NAMES, 2, slice_axis=axis)
        other.add(raw.movedim(3, axis + 1), known)
        assert other.values() == pytest.approx(score.values())
    flat = CAMTagScore(NAMES, 2)
    for s in range(3):
        flat.add(raw[..., s], known[s : s + 1])
    assert flat.values() == pytest.approx(score.values())
    whole = CAMTagScore(NAMES, 2, "tags", None)
    whole.add(raw, torch.tensor([1, 0]))
    assert whole.values()["tag_ce"] == pytest.approx(-math.log(1 - (0.5 + sigmoid(-1)) / 2), rel=1e-5)


def test_nothing_known_and_not_finite():
    score = CAMTagScore(NAMES, 1)
    assert score.values() == {} and score.compute() == 0
    score.add(maps([1.0, 2.0]), tags(-1, -1))
    assert score.compute() == 0
    score.add(maps([math.nan]), tags(1))
    assert score.compute() == -math.inf


def test_in_an_evaluator_that_does_not_decollate():
    """The key value, and the dense label never read."""
    engine = engine_of(CAMTagScore(NAMES, 2))
    batch = {"image": MetaTensor(torch.zeros(2, 2, 2, 2, 1)), "slice_tags": torch.stack([tags(1), tags(0)])}
    engine.run([(batch, {"pred": torch.stack([maps([1.0], [1.0]), maps([1.0], [-4.0])]), "label": None})])
    metrics = engine.state.metrics
    assert metrics["score"] == pytest.approx(-metrics["tag_ce"])
    assert metrics["tag_accuracy"] == 1.0 and metrics["auc_0"] == 0.5 and metrics["auc_1"] == 1.0
    engine.run([({k: v[:1] for k, v in batch.items()}, {"pred": maps([-1.0], [-1.0])[None]})])
    assert engine.state.metrics["tag_accuracy"] == 0.0  # of the second run alone


def test_files_of_a_decollating_evaluator(tmp_path):
    score = CAMTagScore(NAMES, ["T2", "ADC"], pred_key="raw", output_dir=tmp_path)
    engine = engine_of(score, as_metric=False)
    first = ([{"case": "a", "slice_tags": tags(1, 0)}], [{"raw": maps([2.0, 1.0], [0.0, -4.0]), "pred": None}])
    image = MetaTensor(torch.zeros(1, 2, 2, 1), meta={"filename_or_obj": "/data/b.nii.gz"})
    second = ([{"image": image, "slice_tags": tags(-1)}], [{"raw": maps([1.0], [1.0])}])
    engine.run([first, second])
    rows = list(csv.DictReader((tmp_path / "evaluation" / "slice_tags.csv").open()))
    assert [tuple(row) for row in rows] == [("case", "slice", "tag", "T2", "ADC", "fused")] * 3
    assert [(row["case"], row["slice"], row["tag"]) for row in rows] == [
        ("a", "0", "1"),
        ("a", "1", "0"),
        ("b", "0", ""),
    ]
    assert float(rows[0]["T2"]) == pytest.approx(sigmoid(2), abs=1e-5)
    assert float(rows[1]["fused"]) == pytest.approx((sigmoid(1) + sigmoid(-4)) / 2, abs=1e-5)
    summary = json.loads((tmp_path / "evaluation" / "tags.json").read_text())
    assert (summary["slices"], summary["present"], summary["absent"], summary["unknown"]) == (3, 1, 1, 1)
    assert summary["auc"] == summary["auc_T2"] == 1.0 and summary["modalities"] == ["T2", "ADC"]
    assert engine.state.metrics["tag_score"] == pytest.approx(-summary["tag_ce"])


def test_a_diverged_network_gives_json_without_nan(tmp_path):
    engine = engine_of(CAMTagScore(NAMES, 1, output_dir=tmp_path))
    engine.run([([{"case": "a", "slice_tags": tags(1)}], [{"pred": maps([math.nan])}])])
    assert json.loads((tmp_path / "evaluation" / "tags.json").read_text())["tag_ce"] is None


def test_messages():
    with pytest.raises(ValueError, match="class_names must name background and foreground"):
        CAMTagScore(["background", "RV", "LV"], 2)
    with pytest.raises(ValueError, match="modalities must be at least 1"):
        CAMTagScore(NAMES, [])
    with pytest.raises(ValueError, match="case 'a' has 3 rows of tags and maps of 2 slices along slice_axis 2"):
        CAMTagScore(NAMES, 1).add(maps([1.0, 2.0]), tags(1, 0, 0), "a")
    with pytest.raises(ValueError, match="2 channels are not 2 or 3 for each of 2 modalities"):
        CAMTagScore(NAMES, 2).add(maps([1.0, 2.0]), tags(1, 0))
