# SPDX-License-Identifier: Apache-2.0
"""Losses on the labelled voxels alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceLoss

from wss_monai.losses import PartialCrossEntropyLoss, PartialDiceCELoss, PartialDiceLoss
from wss_monai.losses.partial import as_index_map

SHAPES = [(2, 3, 6, 5), (1, 4, 4, 5, 3)]
LOSSES = [PartialCrossEntropyLoss, PartialDiceLoss, PartialDiceCELoss]


def make(shape: tuple[int, ...], labelled: float = 0.4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in float64 and an index map of which that part is labelled."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    index = torch.randint(0, shape[1], (shape[0], 1, *shape[2:]), generator=generator)
    unknown = torch.rand(index.shape, generator=generator) > labelled
    return logits, torch.where(unknown, 255, index).to(torch.uint8)


def one_hot(index: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.cat([index == k for k in range(classes)], 1)


def value_and_gradient(loss, logits, index):
    logits = logits.clone().requires_grad_()
    value = loss(logits, index)
    value.backward()
    return value.detach(), logits.grad


class TestCrossEntropy:
    def test_by_hand(self):
        logits = torch.zeros(1, 2, 1, 3)
        logits[0, 1, 0, 0] = math.log(3)
        index = torch.tensor([[[[1, 255, 0]]]])
        expected = (-math.log(3 / 4) - math.log(1 / 2)) / 2
        assert PartialCrossEntropyLoss()(logits, index).item() == pytest.approx(expected)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_equals_torch_on_the_labelled_voxels(self, shape):
        logits, index = make(shape)
        known = index[:, 0] != 255
        expected = F.cross_entropy(logits.movedim(1, -1)[known], index[:, 0][known].long())
        torch.testing.assert_close(PartialCrossEntropyLoss(ignore_index=255)(logits, index), expected)

    def test_per_sample_is_the_mean_of_the_samples_that_have_labels(self):
        logits, index = make((3, 3, 6, 5))
        index[1] = torch.randint(0, 3, index[1].shape)  # densely labelled
        index[2] = 255
        each = [PartialCrossEntropyLoss()(logits[i : i + 1], index[i : i + 1]) for i in range(3)]
        loss = PartialCrossEntropyLoss(per_sample=True)
        torch.testing.assert_close(loss(logits, index), (each[0] + each[1]) / 2)
        logits.requires_grad_()
        nothing = loss(logits, torch.full_like(index, 255))
        nothing.backward()
        assert nothing.item() == 0 and not logits.grad.any()

    @pytest.mark.parametrize("shape", [(3, 4, 7, 6), (2, 3, 4, 5, 3)])
    def test_per_sample_is_what_sums_over_groups_gave(self, shape):
        """Float32 values to their rounding, gradients to the last bit but that of their common factor."""
        logits, index = make(shape)
        index[0] = 255
        value, grad = value_and_gradient(PartialCrossEntropyLoss(per_sample=True), logits.float(), index)

        def by_groups(logits, index):
            cost = F.cross_entropy(logits, index[:, 0].long(), ignore_index=255, reduction="none").flatten(1)
            known = (index != 255).flatten(1)
            total = cost.new_zeros(len(cost), 1).scatter_add(1, torch.zeros_like(known).long(), cost * known)
            count = known.sum(1, keepdim=True)
            return (total / count.clamp(min=1)).sum() / (count > 0).sum()

        expected, gradient = value_and_gradient(by_groups, logits.float(), index)
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(grad, gradient, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("per_sample", [False, True])
    def test_per_class_is_the_mean_of_the_classes_that_have_labels(self, per_sample):
        logits, index = make((2, 3, 6, 5))
        index[0][index[0] == 2] = 255
        groups = [slice(0, 1), slice(1, 2)] if per_sample else [slice(0, 2)]
        expected = []
        for group in groups:
            there = [k for k in range(3) if (index[group] == k).any()]
            each = [PartialCrossEntropyLoss(classes=[k])(logits[group], index[group]) for k in there]
            expected.append(torch.stack(each).mean())
        loss = PartialCrossEntropyLoss(per_sample=per_sample, per_class=True)
        torch.testing.assert_close(loss(logits, index), torch.stack(expected).mean())

    def test_per_class_by_gradcheck_and_without_labels(self):
        logits, index = make((2, 3, 4, 3))
        loss = PartialCrossEntropyLoss(per_sample=True, per_class=True)
        logits.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss(x, index), logits)
        assert loss(logits, torch.full_like(index, 255)).item() == 0

    def test_per_sample_refuses_the_text_of_a_command_line(self):
        with pytest.raises(ValueError, match="per_sample must be true or false"):
            PartialCrossEntropyLoss(per_sample="false")

    def test_equals_the_tutorials_formula_on_foreground_points(self):
        logits, index = make((2, 3, 8, 8))
        mask = one_hot(index, 3)[:, 1:].double()
        log_p = (torch.softmax(logits, 1) + 1e-10).log()[:, 1:]
        expected = -(mask * log_p).sum() / (mask.sum() + 1e-10)
        torch.testing.assert_close(PartialCrossEntropyLoss(classes=[1, 2])(logits, index), expected)


@pytest.mark.parametrize("shape", SHAPES)
class TestDice:
    @pytest.mark.parametrize("include_background", [True, False])
    def test_equals_monai_on_the_labelled_voxels(self, shape, include_background):
        logits, index = make(shape)
        parts = []
        for sample, target in zip(logits, index, strict=True):
            known = target[0] != 255
            flat = F.one_hot(target[0][known].long(), shape[1]).T.double()[None]
            monai = DiceLoss(include_background=include_background)
            parts.append(monai(torch.softmax(sample[:, known][None], 1), flat))
        loss = PartialDiceLoss(include_background=include_background)
        torch.testing.assert_close(loss(logits, index), torch.stack(parts).mean())

    def test_dice_ce_equals_monai_where_everything_is_labelled(self, shape):
        logits, index = make(shape, labelled=2.0)
        monai = DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0.7, lambda_ce=1.3)
        ours = PartialDiceCELoss(lambda_dice=0.7, lambda_ce=1.3)
        torch.testing.assert_close(ours(logits, index), monai(logits, index.double()))

    @pytest.mark.parametrize("ignore_index", [255, 1])
    def test_it_is_what_one_hot_masks_gave_bit_for_bit(self, shape, ignore_index):
        logits, index = make(shape)
        index = torch.where(index == 255, ignore_index, index)

        def by_masks(logits, index):
            probs, known = logits.softmax(1), index[:, 0] != ignore_index
            truth = F.one_hot(torch.where(known, index[:, 0].long(), 0), shape[1]).movedim(-1, 1).to(probs)
            truth, seen = truth * known.unsqueeze(1), probs * known.unsqueeze(1)
            overlap = (seen * truth).flatten(2).sum(-1)
            total = seen.flatten(2).sum(-1) + truth.flatten(2).sum(-1)
            return (1 - (2 * overlap + 1e-5) / (total + 1e-5)).mean()

        loss = PartialDiceLoss(ignore_index=ignore_index)
        for kind in (torch.float32, torch.float64):
            ours, theirs = (value_and_gradient(f, logits.to(kind), index) for f in (loss, by_masks))
            assert ours[0] == theirs[0] and ours[1].equal(theirs[1])

    def test_unlabelled_samples_cost_nothing(self, shape):
        logits, index = make((2, *shape[1:]))
        index[1] = 255
        alone = PartialDiceLoss()(logits[:1], index[:1])
        torch.testing.assert_close(PartialDiceLoss()(logits, index), alone / 2)


@pytest.mark.parametrize("loss_class", LOSSES)
class TestAll:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("as_masks", [False, True])
    def test_gradcheck(self, loss_class, shape, as_masks):
        logits, index = make(shape)
        target = one_hot(index, shape[1]) if as_masks else index
        assert torch.autograd.gradcheck(lambda z: loss_class()(z, target), logits.requires_grad_())

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
    def test_one_hot_masks_equal_index_maps(self, loss_class, dtype):
        logits, index = make((2, 3, 6, 5))
        masks = one_hot(index, 3).to(dtype)
        torch.testing.assert_close(loss_class()(logits, masks), loss_class()(logits, index))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
    def test_type_of_the_index_map_does_not_matter(self, loss_class, dtype):
        logits, index = make((2, 3, 6, 5))
        torch.testing.assert_close(loss_class()(logits, index.to(dtype)), loss_class()(logits, index))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_no_gradient_at_unlabelled_voxels(self, loss_class, shape):
        logits, index = make(shape)
        loss_class()(logits.requires_grad_(), index).backward()
        unknown = (index == 255).expand_as(logits)
        assert (logits.grad[unknown] == 0).all()
        assert (logits.grad[~unknown] != 0).any()

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_nothing_labelled_costs_nothing(self, loss_class, shape, dtype):
        logits = torch.randn(shape).to(dtype).requires_grad_()
        for channels in (1, shape[1]):
            target = torch.full((shape[0], channels, *shape[2:]), 255 if channels == 1 else 0, dtype=torch.uint8)
            loss = loss_class()(logits, target)
            loss.backward()
            assert loss.item() == 0
            assert logits.grad.abs().max() == 0

    def test_only_the_chosen_classes_supervise(self, loss_class):
        logits, index = make((2, 3, 6, 5))
        chosen = torch.where(index == 0, 255, index)
        torch.testing.assert_close(loss_class(classes=[1, 2])(logits, index), loss_class()(logits, chosen))

    def test_another_ignore_index(self, loss_class):
        logits, index = make((2, 3, 6, 5))
        other = torch.where(index == 255, -1, index.long())
        torch.testing.assert_close(loss_class(ignore_index=-1)(logits, other), loss_class()(logits, index))

    def test_autocast_gives_the_float32_result(self, loss_class):
        logits, index = make((2, 3, 16, 16))
        logits = logits.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = loss_class()(logits, index)
        assert inside.dtype == torch.float32
        torch.testing.assert_close(inside, loss_class()(logits, index))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_logits_of_a_whole_slice(self, loss_class, dtype):
        logits = torch.zeros(1, 2, 512, 512, dtype=dtype)
        index = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
        value = loss_class()(logits, index)
        assert value.item() == pytest.approx(loss_class()(logits.float(), index).item())
        probs = torch.softmax(logits, 1)
        torch.testing.assert_close(loss_class()(logits, index, probs=probs), value)

    def test_probs_may_be_handed_in(self, loss_class):
        logits, index = make((2, 3, 6, 5))
        handed = loss_class()(logits, index, probs=torch.softmax(logits, 1))
        torch.testing.assert_close(handed, loss_class()(logits, index))

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((2, 2, 6, 5), "target must be an index map"),
            ((2, 6, 5), "target must be"),
            ((2, 1, 5, 6), "target must be"),
        ],
    )
    def test_wrong_shapes_are_refused(self, loss_class, shape, message):
        logits, _ = make((2, 3, 6, 5))
        with pytest.raises(ValueError, match=message):
            loss_class()(logits, torch.zeros(shape))

    def test_a_class_that_the_logits_lack_is_refused(self, loss_class):
        logits, index = make((2, 3, 6, 5))
        index[0, 0, 0, 0] = 3
        with pytest.raises(ValueError, match=r"class 3, but there are 3 classes \(0..2; unlabelled = 255\)"):
            loss_class()(logits, index)

    def test_nothing_is_taken_from_the_weak_label_by_reference(self, loss_class):
        logits, index = make((2, 3, 6, 5))
        before = index.clone()
        loss_class(classes=[1])(logits, index)
        assert torch.equal(index, before)
        assert loss_class(target_key="label").target_keys == {"target": "label"}


def test_index_map_of_masks():
    masks = torch.tensor([[[0, 1, 0]], [[1, 0, 0]]])[None]
    assert as_index_map(masks, (1, 2, 1, 3)).tolist() == [[[1, 0, 255]]]


def test_training_on_points_learns_the_points():
    logits, index = make((1, 3, 8, 8), labelled=0.2)
    logits = logits.requires_grad_()
    start = logits.detach().clone()
    optimiser = torch.optim.SGD([logits], lr=5.0)
    for _ in range(200):
        optimiser.zero_grad()
        PartialCrossEntropyLoss()(logits, index).backward()
        optimiser.step()
    known = index[0, 0] != 255
    assert torch.equal(logits.argmax(1)[0][known], index[0, 0][known].long())
    assert torch.equal(logits[0][:, ~known], start[0][:, ~known])
