# SPDX-License-Identifier: Apache-2.0
"""The losses on maps and logits of several modalities, against values by hand and a plain loop over the formulas."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.losses import (
    ClassDistributionExchangeLoss,
    CrossModalityEquivarianceLoss,
    WithinModalityEquivarianceLoss,
)

FORMS = [("sum", "counted"), ("sum", "all"), ("mean", "counted"), ("mean", "all")]


def draw(modalities, batch=3, shape=(4, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.rand(modalities, batch, *shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    tags = torch.tensor([1, 0, 1, 1, -1, 1][:batch])
    correct = [torch.rand(modalities, batch, generator=generator) > 0.3 for _ in range(2)]
    return maps, tags, correct


def cross_by_loops(p, q, tags, correct1, correct2, spatial, batch):
    """The spec's formula, pair by pair and image by image."""
    total = 0.0
    modalities, count = p.shape[:2]

    def distance(a, b, mask):
        each = 0.0
        for n in range(count):
            u, v = a[n] / a[n].norm(), b[n] / b[n].norm()
            square = ((u - v) ** 2).sum() if spatial == "sum" else ((u - v) ** 2).mean()
            each = each + mask[n] * square
        return each / (max(1.0, float(mask.sum())) if batch == "counted" else count)

    for i in range(modalities):
        pairs = []
        for j in range(modalities):
            if j == i:
                continue
            second, first = (tags == 1) * correct2[j], (tags == 1) * correct1[j]
            pairs.append((distance(p[i], q[j].detach(), second) + distance(q[i], p[j].detach(), first)) / 2)
        total = total + (sum(pairs) / len(pairs) if pairs else 0.0)
    return total


def test_within_by_hand():
    p, q = torch.zeros(1, 2, 2, 2, dtype=torch.float64), torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    p[0, 0, 0, 0], q[0, 0, 0, 0], p[0, 0, 1, 1] = 1.0, 0.5, 0.5
    p[0, 1] = 1.0  # absent: does not count
    tags = torch.tensor([1, 0])
    expected = {("sum", "counted"): 0.5, ("sum", "all"): 0.25, ("mean", "counted"): 0.125, ("mean", "all"): 0.0625}
    for form, value in expected.items():
        assert float(WithinModalityEquivarianceLoss(*form)(p, q, tags)) == pytest.approx(value, abs=1e-12)
    assert float(WithinModalityEquivarianceLoss()(p, q, tags)) == pytest.approx(0.5)


def test_cross_by_hand():
    """Maps at two places at right angles: |u - v|^2 = 2; equal ones: 0."""
    a, b = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    a[0, 0], b[1, 1] = 0.3, 0.9
    p, q = torch.stack((a, b))[:, None], torch.stack((b, a))[:, None]  # p_0 and q_1 agree, and p_1 and q_0
    tags, yes = torch.tensor([1]), torch.ones(2, 1)
    assert float(CrossModalityEquivarianceLoss()(p, q, tags, yes, yes)) == pytest.approx(0, abs=1e-12)
    q = torch.stack((a, b))[:, None]
    assert float(CrossModalityEquivarianceLoss()(p, q, tags, yes, yes)) == pytest.approx(4, abs=1e-12)
    assert float(CrossModalityEquivarianceLoss("mean", "all")(p, q, tags, yes, yes)) == pytest.approx(1, abs=1e-12)
    # the second view of modality 1 is not recognised: it teaches nobody, half of modality 0's loss is gone
    second = torch.tensor([[1.0], [0.0]])
    assert float(CrossModalityEquivarianceLoss()(p, q, tags, yes, second)) == pytest.approx(3, abs=1e-12)


@pytest.mark.parametrize("modalities", [1, 2, 3, 4])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(4, 5), (3, 2, 4)])
def test_cross_and_within_follow_the_formulas(modalities, form, shape):
    (p, q), tags, correct = draw(modalities, 5, shape)
    p.requires_grad_(), q.requires_grad_()
    found = CrossModalityEquivarianceLoss(*form)(p, q, tags, *correct)
    expected = torch.as_tensor(cross_by_loops(p, q, tags, *correct, *form))
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    if modalities > 1:
        for one, other in zip(torch.autograd.grad(found, (p, q)), torch.autograd.grad(expected, (p, q)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    present = (tags == 1).double()
    square = (p - q).square().flatten(2)
    each = (square.sum(2) if form[0] == "sum" else square.mean(2)) * present
    value = (each.sum(1) / (present.sum() if form[1] == "counted" else len(tags))).sum()
    within = WithinModalityEquivarianceLoss(*form)(p, q, tags)
    assert within.item() == pytest.approx(value.item(), abs=1e-12)


def test_gradients_are_right_and_teachers_get_none():
    (p, q), tags, correct = draw(3, 3, (2, 3))
    p, q = p.requires_grad_(), q.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: WithinModalityEquivarianceLoss()(a, b, tags), (p, q))
    cross = CrossModalityEquivarianceLoss()
    # gradcheck sees the teachers' values move with the students': hold them fixed by giving students alone
    for i in range(3):
        student = p[i].detach().clone().requires_grad_()

        def taught(one, i=i):
            rest = [one if m == i else p[m].detach() for m in range(3)]
            return cross(torch.stack(rest), q.detach(), tags, torch.zeros(3, 3), correct[1])

        assert torch.autograd.gradcheck(taught, student)
    one = torch.zeros(3, 3)
    one[1] = 1  # only modality 1 teaches, in its second view
    gradients = torch.autograd.grad(cross(p, q, tags, torch.zeros(3, 3), one), (p, q))
    assert not gradients[1].any()  # nobody learns in the second view, and the teacher's map does not
    assert not gradients[0][1].any()  # no modality teaches itself
    assert gradients[0][0].any() and gradients[0][2].any()
    within = torch.autograd.grad(WithinModalityEquivarianceLoss()(p, q, tags), (p, q))
    torch.testing.assert_close(within[0], -within[1])


def test_published_form_is_the_sum_divided_by_the_voxels():
    (p, q), _, _ = draw(2, 4, (8, 8))
    tags, yes = torch.ones(4, dtype=torch.long), torch.ones(2, 4)
    ours, published = (CrossModalityEquivarianceLoss(*form)(p, q, tags, yes, yes) for form in (FORMS[0], FORMS[3]))
    assert float(ours) == pytest.approx(64 * float(published), rel=1e-12)


def test_only_what_is_valid_counts():
    (p, q), tags, correct = draw(2, 3, (4, 4))
    valid = torch.ones(3, 1, 4, 4, dtype=torch.bool)
    valid[..., 2:] = False
    for form in FORMS:
        within, cross = WithinModalityEquivarianceLoss(*form), CrossModalityEquivarianceLoss(*form)
        assert float(within(p, q, tags, valid)) == pytest.approx(float(within(p[..., :2], q[..., :2], tags)))
        part = cross(p[..., :2], q[..., :2], tags, *correct)
        assert float(cross(p, q, tags, *correct, valid)) == pytest.approx(float(part))
    nothing = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    assert float(WithinModalityEquivarianceLoss("mean")(p, q, tags, nothing)) == 0
    assert float(CrossModalityEquivarianceLoss("mean")(p, q, tags, *correct, nothing)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("modalities", [1, 2, 4])
def test_empty_maps_cost_nothing_and_give_finite_gradients(modalities, dtype):
    p = torch.zeros(modalities, 2, 4, 4, dtype=dtype, requires_grad=True)
    q = torch.zeros(modalities, 2, 4, 4, dtype=dtype, requires_grad=True)
    tags, yes = torch.tensor([1, 1]), torch.ones(modalities, 2)
    for loss in (WithinModalityEquivarianceLoss()(p, q, tags), CrossModalityEquivarianceLoss()(p, q, tags, yes, yes)):
        assert loss.item() == 0
        for gradient in torch.autograd.grad(loss, (p, q)):
            assert torch.isfinite(gradient).all()
    half = torch.rand(modalities, 2, 4, 4, dtype=dtype)
    half[0] = 0
    loss = CrossModalityEquivarianceLoss()(p, half, tags, yes, yes)
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, p)[0]).all()


@pytest.mark.parametrize("tags", [[0, 0], [-1, -1], [0, -1]])
def test_images_without_the_class_do_not_count(tags):
    (p, q), _, _ = draw(2, 2)
    yes = torch.ones(2, 2)
    for form in FORMS:
        assert float(WithinModalityEquivarianceLoss(*form)(p, q, torch.tensor(tags))) == 0
        assert float(CrossModalityEquivarianceLoss(*form)(p, q, torch.tensor(tags), yes, yes)) == 0


def test_counted_does_not_depend_on_how_many_images_do_not_count():
    (p, q), _, _ = draw(2, 4)
    yes = torch.ones(2, 4)
    few, all_ = torch.tensor([1, 0, 0, -1]), torch.tensor([1])
    cross = CrossModalityEquivarianceLoss()
    assert float(cross(p, q, few, yes, yes)) == pytest.approx(
        float(cross(p[:, :1], q[:, :1], all_, yes[:, :1], yes[:, :1]))
    )


def test_half_precision_is_computed_in_float32():
    (p, q), tags, correct = draw(2)
    with torch.autocast("cpu", torch.bfloat16):
        for loss in (
            WithinModalityEquivarianceLoss()(p.bfloat16(), q.bfloat16(), tags),
            CrossModalityEquivarianceLoss()(p.bfloat16(), q.bfloat16(), tags, *correct),
            ClassDistributionExchangeLoss()(torch.randn(2, 3, 2).bfloat16()),
        ):
            assert loss.dtype == torch.float32 and torch.isfinite(loss)


def test_exchange_by_hand():
    """Two modalities, one image, T = 1: KL of (.8, .2) from (.5, .5) and back."""
    z = torch.tensor([[[0.0, 0.0]], [[math.log(0.8), math.log(0.2)]]], dtype=torch.float64)
    forward = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)  # the second teaches the first
    back = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)
    assert float(ClassDistributionExchangeLoss(1.0)(z)) == pytest.approx(forward + back, abs=1e-12)
    z.requires_grad_()
    gradient = torch.autograd.grad(ClassDistributionExchangeLoss(1.0)(z), z)[0]
    torch.testing.assert_close(gradient[0, 0], torch.tensor([0.5 - 0.8, 0.5 - 0.2], dtype=torch.float64))
    torch.testing.assert_close(gradient[1, 0], torch.tensor([0.8 - 0.5, 0.2 - 0.5], dtype=torch.float64))


@pytest.mark.parametrize("modalities", [1, 2, 4])
def test_exchange_follows_the_formula(modalities):
    generator = torch.Generator().manual_seed(3)
    z, z2 = (torch.randn(modalities, 5, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    total = 0.0
    for logits in (z, z2):
        for i in range(modalities):
            for j in range(modalities):
                if i != j:
                    q, p = (logits[j] / 10).softmax(-1), (logits[i] / 10).softmax(-1)
                    total += float((q * (q / p).log()).sum()) / 5 / (modalities - 1) * 100 / 2
    assert float(ClassDistributionExchangeLoss()(z, z2)) == pytest.approx(total, abs=1e-10)


def test_large_logits_stay_finite():
    z = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]], requires_grad=True)
    loss = ClassDistributionExchangeLoss()(z)
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CrossModalityEquivarianceLoss("max"), "spatial_reduction must be one of"),
        (lambda: WithinModalityEquivarianceLoss(batch_reduction="none"), "batch_reduction must be one of"),
        (lambda: ClassDistributionExchangeLoss(0), "temperature must be positive"),
        (lambda: ClassDistributionExchangeLoss()(torch.zeros(2, 2)), r"logits must be \(M, B, C\)"),
        (lambda: WithinModalityEquivarianceLoss()(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), torch.ones(2)), "maps1"),
        (lambda: WithinModalityEquivarianceLoss()(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.ones(3)), "tags"),
        (
            lambda: CrossModalityEquivarianceLoss()(
                torch.zeros(2, 2, 3), torch.zeros(2, 2, 3), torch.ones(2), torch.ones(2, 2), torch.ones(2, 3)
            ),
            "correct1 and correct2",
        ),
        (
            lambda: WithinModalityEquivarianceLoss()(
                torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.ones(2), torch.ones(2, 1, 4)
            ),
            "valid must be",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
