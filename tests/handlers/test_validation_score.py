# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from wss_monai.handlers import ValidationScore, validation_score
from wss_monai.transforms import ConstantBoundsd

NAMES = ["background", "RV", "LV"]
INF = math.inf


def logits_of(index, certainty=2.0):
    """Logits (1, 3, *spatial) whose softmax gives the class of ``index`` e^certainty times the weight of the others."""
    index = torch.as_tensor(index)
    return torch.stack([(index == k) * certainty for k in range(3)]).unsqueeze(0).float()


def volume(index):
    return torch.as_tensor(index, dtype=torch.uint8)[None, None]


PREDICTED = [[[1, 0], [1, 2]], [[1, 2], [0, 2]]]  # (2, 2, 2); slices along the last axis: 1 1 1 0 and 0 2 2 2
WEAK = [[[1, 255], [0, 2]], [[255, 255], [255, 255]]]
DENSE = [[[1, 0], [1, 2]], [[0, 2], [0, 0]]]
P_RIGHT = math.exp(2) / (math.exp(2) + 2)
P_WRONG = 1 / (math.exp(2) + 2)
CE = -(2 * math.log(P_RIGHT) + math.log(P_WRONG)) / 3


def bounds_on_slices():
    """RV at most 2 in slice 0 (it has 3), at least 1 in slice 1 (it has 0); LV at most 3 in both (0 and 3)."""
    bounds = torch.tensor([-INF, INF]).repeat(1, 2, 3, 1, 1)
    bounds[0, 0, 1, 0] = torch.tensor([-INF, 2])
    bounds[0, 1, 1, 0] = torch.tensor([1, INF])
    bounds[0, :, 2, 0] = torch.tensor([-INF, 3])
    return bounds


def batch(**changes):
    image = MetaTensor(torch.zeros(1, 1, 2, 2, 2), affine=torch.diag(torch.tensor([2.0, 2, 8, 1])))
    content = {"image": image, "weak_label": volume(WEAK), "label": volume(DENSE), "bounds_size": bounds_on_slices()}
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def metric(bounded=True, **settings):
    made = ConstantBoundsd(values={}, class_names=NAMES, unit="mm2", slice_axis=2)
    return ValidationScore(NAMES, [made] if bounded else [], **settings)


def test_values_of_a_hand_computed_volume():
    score = metric()
    score.update((logits_of(PREDICTED), batch()))
    values = score.values()
    assert values["partial_ce"] == pytest.approx(CE)
    assert values["constraint_satisfaction"] == pytest.approx(2 / 4)
    assert values["dice_RV"] == pytest.approx(2 * 2 / (3 + 2))
    assert values["dice_LV"] == pytest.approx(2 * 2 / (3 + 2))
    assert values["dice"] == pytest.approx(0.8)
    assert score.compute() == pytest.approx((0.5 + math.exp(-CE)) / 2)
    assert metric(key="dice").key == "dice"


def test_key_dice_is_returned_where_there_is_any():
    score = metric(key="dice")
    score.update((logits_of(PREDICTED), batch()))
    assert score.compute() == pytest.approx(0.8)
    score.reset()
    score.update((logits_of(PREDICTED), batch(label=volume([[[255] * 2] * 2] * 2))))
    assert score.compute() == pytest.approx((0.5 + math.exp(-CE)) / 2)


@pytest.mark.parametrize("label", [None, volume([[[255] * 2] * 2] * 2)])
def test_without_dense_labels_there_is_no_dice(label):
    score = metric()
    score.update((logits_of(PREDICTED), batch(label=label)))
    assert set(score.values()) == {"partial_ce", "constraint_satisfaction"}


def test_dense_labels_do_not_move_the_weak_score():
    scores = []
    for label in (None, volume(DENSE), volume(PREDICTED)):
        score = metric()
        score.update((logits_of(PREDICTED), batch(label=label)))
        scores.append(score.compute())
    assert scores[0] == scores[1] == scores[2]


def test_without_constraints_and_without_weak_labels():
    nothing = volume([[[255] * 2] * 2] * 2)
    score = metric(bounded=False)
    score.update((logits_of(PREDICTED), batch(bounds_size=None)))
    assert score.compute() == pytest.approx((1 + math.exp(-CE)) / 2)
    score = metric()
    score.update((logits_of(PREDICTED), batch(weak_label=nothing)))
    assert "partial_ce" not in score.values()
    assert score.compute() == pytest.approx(0.5)


def test_a_class_that_neither_shows_has_dice_1_and_unknown_voxels_do_not_count():
    score = metric()
    predicted, label = [[[0, 1]]], [[[0, 255]]]
    bounds = torch.tensor([-INF, INF]).repeat(1, 2, 3, 1, 1)
    image = torch.zeros(1, 1, 1, 1, 2)
    known = {"image": image, "weak_label": volume([[[255, 255]]]), "label": volume(label), "bounds_size": bounds}
    score.update((logits_of(predicted), known))
    assert score.values() == {"dice": 1.0, "dice_RV": 1.0, "dice_LV": 1.0}


def test_network_that_diverged_scores_0():
    score = metric()
    score.update((logits_of(PREDICTED) * math.nan, batch()))
    assert score.compute() == 0.0


def test_volumes_count_alike_and_reset_forgets():
    score = metric()
    other = batch(label=volume(PREDICTED), bounds_size=torch.tensor([-INF, INF]).repeat(1, 2, 3, 1, 1))
    for content in (batch(), other):
        score.update((logits_of(PREDICTED), content))
    assert score.values()["dice_RV"] == pytest.approx((0.8 + 1.0) / 2)
    assert score.values()["constraint_satisfaction"] == pytest.approx(0.5)
    score.reset()
    assert score.values() == {}


def test_in_three_dimensions_with_a_bound_on_the_volume():
    bounds = torch.tensor([-INF, INF]).repeat(1, 3, 1, 1)
    bounds[0, 1, 0], bounds[0, 2, 0] = torch.tensor([3, 3]), torch.tensor([-INF, 2])
    score = ValidationScore(NAMES, [ConstantBoundsd(values={}, class_names=NAMES, unit="ml")])
    score.update((logits_of(PREDICTED), batch(bounds_size=bounds)))
    assert score.values()["constraint_satisfaction"] == pytest.approx(1 / 2)  # RV is at its bounds, LV above


def test_sums_run_over_the_processes(monkeypatch):
    score = metric()
    score.update((logits_of(PREDICTED), batch()))
    alone = score.values()
    monkeypatch.setattr(validation_score, "of_all_processes", lambda values: [values, values])
    assert score.values() == pytest.approx(alone)  # another process with the same cases changes nothing
    other = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    monkeypatch.setattr(
        validation_score, "of_all_processes", lambda values: [values, other if values.dim() == 2 else 0 * values]
    )
    assert score.values()["dice_RV"] == pytest.approx((0.8 + 1) / 2)
    assert score.values()["dice_LV"] == pytest.approx((0.8 + 0) / 2)


def test_attached_to_an_evaluator_it_writes_all_values_once():
    engine = Engine(lambda *_: {"pred": logits_of(PREDICTED)})
    metric().attach(engine, "score")
    engine.run([batch(), batch()])
    state = SimpleNamespace(**engine.state.metrics)
    assert state.score == pytest.approx((0.5 + math.exp(-CE)) / 2)
    assert state.dice == pytest.approx(0.8)


def test_unknown_key_is_refused():
    with pytest.raises(ValueError, match=r"key must be one of \('weak', 'dice'\), got 'mean'"):
        metric(key="mean")


def test_the_cross_entropy_is_that_of_the_losss_temperature():
    score = ValidationScore(["background", "a"], temperature=5.0)
    logits = torch.tensor([[[[0.0]], [[0.2]]]])
    score.update((logits, {"weak_label": torch.ones(1, 1, 1, 1, dtype=torch.uint8)}))
    assert score.values()["partial_ce"] == pytest.approx(math.log(1 + math.exp(-1.0)), rel=1e-6)
