# SPDX-License-Identifier: Apache-2.0
"""Consistency and entropy: known values, where gradients go, extreme logits, their place in a weighted sum."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.losses import ConsistencyLoss, EntropyLoss, WeightedSumLoss


def waves(phase):
    """Logits z[n, c, y, x] = 3 sin((c + 1)(1 + 0.3 y + 0.7 x) + n + phase) of shape (2, 3, 6, 5)."""
    n, c, y, x = (torch.arange(side, dtype=torch.float64) for side in (2, 3, 6, 5))
    where = 1 + 0.3 * y[:, None] + 0.7 * x
    return 3 * torch.sin((c[:, None, None] + 1) * where + n[:, None, None, None] + phase)


@pytest.mark.parametrize(("kind", "value"), [("mse", 0.05365897), ("kl", 0.26991348)])
def test_known_values(kind, value):
    assert ConsistencyLoss(kind)(waves(0), waves(0.5)).item() == pytest.approx(value, abs=1e-6)


def test_of_one_voxel_by_hand():
    student = torch.tensor([[0.5, 0.5]]).log()
    teacher = torch.tensor([[0.9, 0.1]]).log()
    assert ConsistencyLoss("mse")(student, teacher).item() == pytest.approx(0.16, abs=1e-6)
    kl = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert ConsistencyLoss("kl")(student, teacher).item() == pytest.approx(kl, abs=1e-6)
    assert EntropyLoss()(student).item() == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("kind", ["mse", "kl"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 4, 4), (3, 2, 4, 4), (2, 4, 3, 3, 3)])
def test_equal_predictions_cost_nothing_and_the_teacher_gets_no_gradient(kind, shape):
    student, teacher = (torch.randn(shape, requires_grad=True) for _ in range(2))
    loss = ConsistencyLoss(kind)
    assert loss(student, student).item() == pytest.approx(0, abs=1e-6)
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["mse", "kl"])
@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (1, 3, 2, 2, 2)])
def test_gradients_are_those_of_finite_differences(kind, shape):
    student, teacher = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: ConsistencyLoss(kind)(s, teacher), (student,))
    assert torch.autograd.gradcheck(EntropyLoss(), (student,))


def test_entropy_of_even_and_of_certain_predictions():
    assert EntropyLoss()(torch.zeros(2, 4, 3, 3)).item() == pytest.approx(math.log(4), abs=1e-6)
    certain = torch.zeros(2, 4, 3, 3)
    certain[:, 1] = 60
    assert EntropyLoss()(certain).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["mse", "kl", "entropy"])
def test_extreme_logits_have_finite_values_and_gradients(name, dtype):
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype)[..., None, None].requires_grad_()
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [1e4, -1e4, 1e4]], dtype=dtype)[..., None, None]
    value = EntropyLoss()(student) if name == "entropy" else ConsistencyLoss(name)(student, teacher)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite() and student.grad.isfinite().all()
    if name == "kl":  # by voxel: 2e4 and half of 2e4
        assert value.item() == pytest.approx(15000, rel=1e-2)


@pytest.mark.parametrize("kind", ["mse", "kl"])
def test_autocast_changes_nothing(kind):
    student, teacher = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 5)
    plain, sure = ConsistencyLoss(kind)(student, teacher), EntropyLoss()(student)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ConsistencyLoss(kind)(student, teacher), plain)
        assert torch.equal(EntropyLoss()(student), sure)


def test_both_are_terms_of_a_weighted_sum():
    student, teacher = waves(0), waves(0.5)
    loss = WeightedSumLoss({"agree": (ConsistencyLoss("kl"), 10.0), "sure": (EntropyLoss(), 1e-5)})
    assert loss.target_keys() == {"teacher_logits"}
    total = loss(student, {"teacher_logits": teacher})
    assert loss.parts["agree"].item() == pytest.approx(0.26991348, abs=1e-6)
    assert total.item() == pytest.approx(10 * 0.26991348 + 1e-5 * EntropyLoss()(student).item(), abs=1e-6)
    alone = WeightedSumLoss({"sure": (EntropyLoss(), 1.0)})
    assert alone.target_keys() == set()
    assert alone(student, {}).item() == pytest.approx(EntropyLoss()(student).item(), abs=1e-12)


def test_refuses_bad_input():
    with pytest.raises(ValueError, match="kind must be 'mse' or 'kl', got 'l1'"):
        ConsistencyLoss("l1")
    with pytest.raises(ValueError, match=r"one shape .*\(2, 3, 4\) and \(2, 3, 5\)"):
        ConsistencyLoss()(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match=r"logits must be \(B, K, \*spatial\), got \(3,\)"):
        EntropyLoss()(torch.zeros(3))
