# SPDX-License-Identifier: Apache-2.0
"""The sum of the parts: against the parts computed one by one, in all modes, and without images that say anything."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wss_monai.functional.cams.max_norm import max_norm
from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.losses import (
    ClassDistributionExchangeLoss,
    ClassificationLoss,
    CrossModalityEquivarianceLoss,
    EquivariantCAMLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.transforms import RandEquivariantTransform

TERMS = {
    "classification": (ClassificationLoss(), 1.0),
    "exchange": (ClassDistributionExchangeLoss(), 0.5),
    "within": (WithinModalityEquivarianceLoss("mean"), 1.0),
    "cross": (CrossModalityEquivarianceLoss(), 2.0),
}


def make(modalities, each=2, shape=(6, 6), batch=4, family="turn", dtype=torch.float64):
    generator = torch.Generator().manual_seed(modalities)
    raw = torch.randn(2, batch, modalities * each, *shape, generator=generator, dtype=dtype, requires_grad=True)
    tags = torch.tensor([[1, 1], [1, 0], [1, 1], [1, -1]][:batch])
    view = RandEquivariantTransform(family)(batch, shape, 7)
    return raw, {"slice_tags": tags, "view": view}


@pytest.mark.parametrize("each", [2, 3])
@pytest.mark.parametrize("modalities", [1, 2, 4])
@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 3)])
def test_the_sum_is_that_of_its_parts(modalities, each, shape):
    raw, target = make(modalities, each, shape)
    loss = EquivariantCAMLoss(modalities, TERMS, visible=0)
    total = loss(raw, target)
    tags, view = target["slice_tags"][:, 1], target["view"]
    z, shown = [], []
    for one in raw:
        apart = [one[:, m * each : (m + 1) * each] for m in range(modalities)]
        z.append(torch.stack([maps[:, :2].flatten(2).mean(2) for maps in apart]))
        shown.append(torch.stack([maps[:, -1] for maps in apart]))
    known = tags >= 0
    cost = sum(F.cross_entropy(logits[known], tags[known].long()) for views in z for logits in views) / 2
    p = torch.stack([view(max_norm(m, len(shape))[:, None])[:, 0] for m in shown[0]])
    q = max_norm(shown[1], len(shape))
    right = [logits.argmax(-1) == 1 for logits in z]
    expected = {
        "classification": cost,
        "exchange": ClassDistributionExchangeLoss()(*z),
        "within": WithinModalityEquivarianceLoss("mean")(p, q, tags, view.valid()),
        "cross": CrossModalityEquivarianceLoss()(p, q, tags, *right, view.valid()),
    }
    for name, value in expected.items():
        torch.testing.assert_close(loss.parts[name], value.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(total, sum(TERMS[name][1] * value for name, value in expected.items()))
    torch.autograd.grad(total, raw)


def test_modes_compute_what_they_name():
    raw, target = make(2)
    cam = EquivariantCAMLoss(2, {"classification": TERMS["classification"]})
    cam(raw, target)
    assert set(cam.parts) == {"classification"}
    equivariant = EquivariantCAMLoss(2, {k: TERMS[k] for k in ("classification", "within")})
    equivariant(raw, target)
    assert set(equivariant.parts) == {"classification", "within"}


def test_the_networks_of_the_modalities_do_not_pull_at_each_other():
    """So that one optimiser over all is the same as one for each."""
    raw, target = make(3)
    loss = EquivariantCAMLoss(3, TERMS)
    whole = torch.autograd.grad(loss(raw, target), raw)[0]
    for m in range(3):
        alone = torch.zeros_like(raw, requires_grad=False)
        channels = slice(2 * m, 2 * m + 2)
        mixed = raw.detach().clone()
        mixed[:, :, channels] = raw[:, :, channels]
        part = torch.autograd.grad(loss(mixed, target), raw)[0]
        alone[:, :, channels] = whole[:, :, channels]
        torch.testing.assert_close(part, alone)


def test_a_class_that_left_the_frame_does_not_count_in_the_second_view():
    raw, target = make(1, shape=(8, 8), batch=1)
    away = SpatialMap(torch.tensor([[[1.0, 0, 5], [0, 1, 0], [0, 0, 1]]]), (8, 8))
    evidence = torch.full((1, 1, 1, 8, 8), -1.0)
    evidence[..., 5:, :] = 1  # all of it leaves below
    maps = torch.cat((torch.zeros_like(evidence), evidence), 2)[0]
    raw = torch.stack((maps, torch.zeros_like(maps))).double().requires_grad_()
    target = {"slice_tags": torch.tensor([[1, 1]]), "view": away}
    counted, ignored = (
        EquivariantCAMLoss(1, {"classification": TERMS["classification"]}, visible)(raw, target)
        for visible in (0.0, 0.5)
    )
    first = F.cross_entropy(maps.flatten(2).mean(2).double(), torch.tensor([1]))
    assert float(ignored.detach()) == pytest.approx(float(first) / 2)
    assert float(counted.detach()) == pytest.approx((float(first) + float(torch.tensor(2.0).log())) / 2)


@pytest.mark.parametrize("tags", [[[1, 0], [1, 0]], [[1, 1], [1, 1]], [[1, -1], [-1, -1]]])
@pytest.mark.parametrize("value", [0.0, -5.0])
def test_any_batch_gives_finite_gradients(tags, value):
    raw, target = make(2, batch=2, dtype=torch.float32)
    with torch.no_grad():
        raw.fill_(value)
    target["slice_tags"] = torch.tensor(tags)
    total = EquivariantCAMLoss(2, TERMS)(raw, target)
    assert torch.isfinite(total) and torch.isfinite(torch.autograd.grad(total, raw)[0]).all()


def test_live_parts_are_kept_when_asked_for_alone():
    raw, target = make(2)
    loss = EquivariantCAMLoss(2, TERMS)
    loss(raw, target)
    assert not loss.live
    loss.keep_live = True
    loss(raw, target)
    assert set(loss.live) == set(TERMS) and all(v.requires_grad for v in loss.live.values())
    assert not any(v.requires_grad for v in loss.parts.values())


def test_what_does_not_fit_is_refused():
    raw, target = make(2)
    with pytest.raises(ValueError, match="with 'classification'"):
        EquivariantCAMLoss(2, {"within": TERMS["within"]})
    with pytest.raises(ValueError, match="terms must be out of"):
        EquivariantCAMLoss(2, {**TERMS, "size": TERMS["within"]})
    with pytest.raises(ValueError, match="visible must lie"):
        EquivariantCAMLoss(2, TERMS, visible=2)
    with pytest.raises(ValueError, match="channels are not"):
        EquivariantCAMLoss(3, TERMS)(raw, target)
    with pytest.raises(KeyError, match="needs 'slice_tags' and 'view'"):
        EquivariantCAMLoss(2, TERMS)(raw, {"view": target["view"]})
    with pytest.raises(ValueError, match="background and one class"):
        EquivariantCAMLoss(2, TERMS)(raw, {**target, "slice_tags": torch.ones(4, 3)})
