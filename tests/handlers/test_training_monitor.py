# SPDX-License-Identifier: Apache-2.0
"""Dice and size difference of training batches, by hand."""

from __future__ import annotations

import pytest
import torch

from wss_monai.handlers import TrainingMonitor


def logits_of(index: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(index.long(), classes).movedim(-1, 1).float() * 9


def values(monitor: TrainingMonitor) -> dict[str, float]:
    return {name: value.item() for name, value in monitor.logged.items()}


def test_hand_values_of_two_samples_and_two_classes():
    predicted = torch.tensor([[[1, 1, 1, 0]], [[2, 2, 0, 0]]])
    label = torch.tensor([[[[1, 1, 0, 0]]], [[[2, 0, 0, 1]]]])
    monitor = TrainingMonitor(["background", "a", "b"])
    monitor.update(logits_of(predicted, 3), label)
    # sample 0: a 2*2/5, b empty in both: 1; sample 1: a missed: 0, b 2*1/3
    assert values(monitor)["train_dice"] == pytest.approx(((0.8 + 1) / 2 + (0 + 2 / 3) / 2) / 2)
    assert values(monitor)["size_difference"] == pytest.approx(((1 + 0) / 2 + (-1 + 1) / 2) / 2)
    assert values(monitor)["size_difference_abs"] == pytest.approx(((1 + 0) / 2 + (1 + 1) / 2) / 2)


def test_unknown_voxels_and_samples_do_not_count():
    predicted = torch.ones(2, 1, 4)
    label = torch.tensor([[[[1, 1, 255, 255]]], [[[255, 255, 255, 255]]]])
    monitor = TrainingMonitor(["background", "a"])
    monitor.update(logits_of(predicted, 2), label)
    assert values(monitor) == {"train_dice": 1.0, "size_difference": 0.0, "size_difference_abs": 0.0}


def test_a_batch_without_labels_leaves_the_last_values():
    monitor = TrainingMonitor(["background", "a"])
    known = torch.tensor([[[[1, 0, 0, 0]]]])
    monitor.update(logits_of(torch.ones(1, 1, 4), 2), known)
    before = values(monitor)
    monitor.update(logits_of(torch.zeros(1, 1, 4), 2), torch.full_like(known, 255))
    assert values(monitor) == before
    assert before["size_difference"] == 3


def test_in_3d():
    label = torch.zeros(1, 1, 2, 2, 2)
    label[..., 0] = 1
    monitor = TrainingMonitor(["background", "a"])
    monitor.update(logits_of(torch.ones(1, 2, 2, 2), 2), label)
    assert values(monitor)["size_difference"] == 4
    assert values(monitor)["train_dice"] == pytest.approx(2 / 3)
