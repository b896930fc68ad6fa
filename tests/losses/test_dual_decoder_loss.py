# SPDX-License-Identifier: Apache-2.0
"""Two decoders that teach each other, on rows of pixels."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional import UNLABELLED
from wss_monai.functional.descriptors import Size
from wss_monai.losses import (
    ConstraintLoss,
    DualDecoderLoss,
    MixedLabelLoss,
    PartialCrossEntropyLoss,
    PartialDiceCELoss,
    QuadraticPenalty,
    WeightedSumLoss,
)

U = UNLABELLED


def soft(*classes: int, sure: float = 0.9, count: int = 3):
    """Probabilities (1, K, 1, N) of pixels that are sure of these classes."""
    rest = (1 - sure) / (count - 1)
    return torch.tensor([[sure if k == c else rest for c in classes] for k in range(count)])[None, :, None]


def row(*values: int):
    return torch.tensor(values, dtype=torch.uint8)[None, None, None]


def target(*drawn: int, share: float = 0.5, **others):
    known = {"weak_label": row(*drawn), "student_share": torch.tensor(share), "teacher": torch.zeros(0)}
    return {**known, **others}


def pseudo(weight: float = 1.0, **settings) -> WeightedSumLoss:
    return WeightedSumLoss({"pseudo": (MixedLabelLoss(PartialCrossEntropyLoss(), **settings), weight)})


FIRST, SECOND = soft(0, 1, 1, 2), soft(0, 2, 1, 0)


# pixels 1 and 3 are in doubt: .9 b + .05 (1 - b) of the first's class, so that b > 1/2 decides for it
@pytest.mark.parametrize(("share", "label"), [(0.9, [0, 1, 1, 2]), (0.51, [0, 1, 1, 2]), (0.49, [0, 2, 1, 0])])
def test_both_learn_the_same_label_of_their_mixture(share, label):
    logits = [FIRST.log().requires_grad_(), SECOND.log().requires_grad_()]
    value = DualDecoderLoss(pseudo(pieces="all"))(logits, target(U, U, U, U, share=share))
    agree = [sum(a == b for a, b in zip(label, said, strict=True)) for said in ([0, 1, 1, 2], [0, 2, 1, 0])]
    costs = [-(n * math.log(0.9) + (4 - n) * math.log(0.05)) / 4 for n in agree]
    assert value.item() == pytest.approx(sum(costs) / 2, rel=1e-5)
    # gradients are those of half the cross-entropy on that label, for each decoder: none passes through the label
    found = torch.autograd.grad(value, logits)
    for each, got in zip(logits, found, strict=True):
        half = PartialCrossEntropyLoss()(each, row(*label)) / 2
        assert torch.equal(got, torch.autograd.grad(half, each)[0]) and float(got.abs().sum()) > 0


def test_drawn_pixels_teach_both():
    loss = DualDecoderLoss(WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0)}))
    logits = [FIRST.log().requires_grad_(), SECOND.log().requires_grad_()]
    value = loss(logits, {"weak_label": row(U, 1, U, U)})
    assert value.item() == pytest.approx(-(math.log(0.9) + math.log(0.05)) / 2, rel=1e-5)
    for got in torch.autograd.grad(value, logits):
        assert got.abs().sum((0, 1, 2)).gt(0).tolist() == [False, True, False, False]


def test_the_dice_of_a_batch_is_that_of_each_decoder_and_parts_are_means():
    terms = {"partial": (PartialDiceCELoss(), 1.0), "pseudo": (MixedLabelLoss(), 0.5)}
    size = ConstraintLoss(Size(), QuadraticPenalty())
    loss = WeightedSumLoss({**terms, "size": (size, 0.3)})
    bounds = torch.tensor([[0.0, math.inf], [0.0, 1.0], [2.5, 3.0]])[None, :, None]
    known = target(U, 1, 0, U, share=0.7, bounds_size=bounds)
    label = loss.terms["pseudo"].labels(FIRST, SECOND, 0.7, known["weak_label"])
    each = []
    for logits in (FIRST.log(), SECOND.log()):
        value = loss(logits, {**known, "labels_pseudo": label})
        each.append((value, dict(loss.parts), dict(loss.violations)))
    dual = DualDecoderLoss(loss)
    total = dual((FIRST.log(), SECOND.log()), known)
    assert float(total) == pytest.approx(float(each[0][0] + each[1][0]) / 2)
    assert set(loss.parts) == {"partial", "pseudo", "size"} and set(loss.violations) == {"size"}
    for name, value in loss.parts.items():
        assert float(value) == pytest.approx(float(each[0][1][name] + each[1][1][name]) / 2) and float(value) > 0
    assert float(each[0][2]["size"]) != float(each[1][2]["size"])
    assert float(loss.violations["size"]) == pytest.approx(float(each[0][2]["size"] + each[1][2]["size"]) / 2)


def test_what_is_known_corrects_the_label():
    def cost(known, **settings):
        both = soft(1, 0, 1, 2, sure=0.6)
        return float(DualDecoderLoss(pseudo(**settings))([both.log()] * 2, known))

    sure, other = -math.log(0.6), -math.log(0.2)
    assert cost(target(U, U, U, U)) == pytest.approx(sure)
    assert cost(target(U, U, 1, U)) == pytest.approx((3 * sure + other) / 4)  # the piece on the left is not drawn in
    assert cost(target(U, U, 1, U), pieces="all") == pytest.approx(sure)
    for key in ("slice_tags", "tags"):
        absent = {key: torch.tensor([[-1, -1, 0]])}
        assert cost(target(U, U, U, U, **absent)) == pytest.approx((3 * sure + other) / 4)
    shift = torch.tensor([0.0, 0.0, math.log(4)])
    assert cost(target(U, U, U, U, class_shift=shift)) == pytest.approx((3 * other + sure) / 4)
    boxes = torch.zeros(1, 3, 1, 4, dtype=torch.uint8)
    boxes[0, 1, 0, 0] = 1
    assert cost(target(U, U, U, U, boxes=boxes)) == pytest.approx((3 * sure + other) / 4)


def test_the_temperature_is_that_of_the_sum():
    # .65 of (.5, .3, .2) and .35 of (.2, .6, .2): .395 < .405; squared and normalised, .65 of (.658, .237, .105) and
    # .35 of (.091, .818, .091): .460 > .440
    first, second = (torch.tensor(p)[None, :, None, None].log() for p in ((0.5, 0.3, 0.2), (0.2, 0.6, 0.2)))
    for temperature, costs in ((1.0, (0.3, 0.6)), (2.0, (0.25 / 0.38, 0.04 / 0.44))):
        loss = WeightedSumLoss({"pseudo": (MixedLabelLoss(PartialCrossEntropyLoss()), 1.0)}, temperature)
        value = DualDecoderLoss(loss)([first, second], target(U, share=0.65))
        assert float(value) == pytest.approx(-sum(map(math.log, costs)) / 2)


def test_before_the_start_no_labels_are_made(monkeypatch):
    loss = pseudo(0.0)
    monkeypatch.setattr(MixedLabelLoss, "labels", lambda *_: pytest.fail("labels of a term without a weight"))
    logits = [FIRST.log().requires_grad_(), SECOND.log().requires_grad_()]
    value = DualDecoderLoss(loss)(logits, target(U, U, U, U))
    assert value.item() == 0 and float(loss.parts["pseudo"]) == 0
    assert float(loss.terms["pseudo"].logged["pseudo_removed"]) == 0
    assert all(float(got.abs().sum()) == 0 for got in torch.autograd.grad(value, logits))


def test_labels_are_made_once_and_what_was_removed_is_logged(monkeypatch):
    loss, calls = pseudo(), []
    made = MixedLabelLoss.labels

    def labels(self, *known):
        calls.append(known)
        return made(self, *known)

    monkeypatch.setattr(MixedLabelLoss, "labels", labels)
    both = soft(1, 0, 1, 1).log()
    DualDecoderLoss(loss)([both, both], target(U, U, 1, U))
    assert len(calls) == 1 and float(loss.terms["pseudo"].logged["pseudo_removed"]) == 0.25


def test_volumes_batches_and_half_precision():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, 4, 5, 3, generator=generator) for _ in range(2)]
    drawn = torch.full((2, 1, 4, 5, 3), U, dtype=torch.uint8)
    drawn[0, 0, 1, 1:3] = 1
    known = {**target(U), "weak_label": drawn}
    loss = DualDecoderLoss(
        WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "pseudo": (MixedLabelLoss(), 0.5)})
    )
    halves = [each.bfloat16() for each in logits]
    with torch.autocast("cpu", torch.bfloat16):
        half = loss(halves, known)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss([each.float() for each in halves], known))


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.double, requires_grad=True) for _ in range(2)]
    drawn = torch.full((2, 1, 4, 5), U, dtype=torch.uint8)
    drawn[0, 0, 1, 1:3] = 1
    known = {**target(U, share=0.3), "weak_label": drawn}
    loss = DualDecoderLoss(
        WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "pseudo": (MixedLabelLoss(), 0.5)})
    )
    assert torch.autograd.gradcheck(lambda a, b: loss([a, b], known), logits)


def test_other_logits_and_missing_targets_are_refused():
    loss = DualDecoderLoss(pseudo())
    with pytest.raises(ValueError, match=r"two decoders, as wss_monai.networks.DualDecoder .* got \(1, 3, 1, 4\)"):
        loss(FIRST, target(U, U, U, U))
    with pytest.raises(ValueError, match=r"got 3 of them"):
        loss([FIRST] * 3, target(U, U, U, U))
    with pytest.raises(KeyError, match=r"term 'pseudo' needs target\['student_share'\]"):
        loss([FIRST, SECOND], {"weak_label": row(U, U, U, U), "teacher": torch.zeros(0)})
