# SPDX-License-Identifier: Apache-2.0
"""The running average of predictions of training slices: its values by hand, when it labels, what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wss_monai.handlers import AveragedPredictions
from wss_monai.losses import PartialCrossEntropyLoss, WeightedSumLoss

LOSS = {
    "partial": (PartialCrossEntropyLoss(), 1.0),
    "averaged": (PartialCrossEntropyLoss(target_key="averaged_label"), 0.5),
}


class Sure(nn.Module):
    """Class 1 with probability .9 where the image is above one half, class 0 elsewhere; counts training calls."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.modes = []

    def forward(self, image):
        self.modes.append(self.training)
        one = torch.where(image > 0.5, 0.9, 0.1)
        return torch.cat((1 - one, one), 1).log()


def made(**settings):
    images = torch.zeros(5, 1, 2, 2)
    images[..., 1] = 1
    weak = torch.full((5, 1, 2, 2), 255, dtype=torch.uint8)
    weak[:, 0, 0, 0] = 1
    store = SimpleNamespace(tensors={"image": images, "weak_label": weak})
    network = Sure().train()
    handler = AveragedPredictions(
        network, WeightedSumLoss(LOSS), SimpleNamespace(store=store), 2, batch_size=2, **settings
    )
    return handler, store, network


def test_labels_come_when_the_average_is_above_the_threshold():
    handler, store, network = made(share=0.5, threshold=0.6)
    handler.update(1)
    assert bool((store.tensors["averaged_label"] == 255).all()) and not network.modes  # nothing is learnt so far
    handler.update(2)  # average .45
    assert handler.average[0, 1, 1, 1].item() == pytest.approx(0.45, abs=1e-3)
    assert bool((store.tensors["averaged_label"] == 255).all())
    handler.update(3)  # .675
    label = store.tensors["averaged_label"]
    assert label[:, 0].tolist() == [[[255, 1], [0, 1]]] * 5  # what is drawn, wrong as it is, has a term of its own
    assert handler.logged["averaged_share"].item() == pytest.approx(0.75)
    assert network.training and network.norm.training and set(network.modes) == {False}


def test_published_numbers_label_after_eight_predictions():
    handler, store, network = made()
    network.forward = lambda image: torch.cat((torch.zeros_like(image), torch.full_like(image, 30.0)), 1)
    for epoch in range(1, 9):
        handler.update(epoch)
        assert bool((store.tensors["averaged_label"] == 255).all())
    handler.update(9)  # 1 - .8^8 = .832
    assert bool((store.tensors["averaged_label"][:, 0, 1] == 1).all())


def test_a_restored_average_goes_on():
    handler, _, _ = made(share=0.5)
    handler.update(2)
    other, store, _ = made(share=0.5)
    other.load_state_dict(handler.state_dict())
    handler.update(3)
    other.update(3)
    assert torch.equal(other.average, handler.average) and "averaged_label" in store.tensors
    fresh = made()[0]
    assert fresh.state_dict() == {}
    fresh.load_state_dict({})


def test_what_is_refused():
    with pytest.raises(ValueError, match="share must be above 0"):
        made(share=0)
    with pytest.raises(ValueError, match="threshold must be at least 0 and less than 1, got 1"):
        made(threshold=1)
    with pytest.raises(ValueError, match="reads 'averaged_label'"):
        AveragedPredictions(Sure(), WeightedSumLoss({"partial": LOSS["partial"]}), None, 2)
    handler, _, _ = made()
    handler.loader = SimpleNamespace(store=SimpleNamespace())
    with pytest.raises(ValueError, match="need slices, not random patches"):
        handler.update(1)
