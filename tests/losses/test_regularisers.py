# SPDX-License-Identifier: Apache-2.0
"""Total variation and Mumford-Shah: values by hand, gradients, a known optimum, what is refused."""

from __future__ import annotations

import pytest
import torch

from wss_monai.losses import MumfordShahLoss, PartialCrossEntropyLoss, TotalVariationLoss, WeightedSumLoss


def logits_of(probs):
    """Logits whose softmax is ``probs`` (B, K, *spatial)."""
    return probs.double().clamp(min=1e-12).log()


def half(shape=(4, 6)):
    """Two classes that share an image half and half along the last axis."""
    one = torch.zeros(shape)
    one[..., : shape[-1] // 2] = 1
    return torch.stack((one, 1 - one))[None]


def test_differences_by_hand():
    # one step of 1 in each of 4 rows, of 24 voxels, in both classes
    assert TotalVariationLoss()(logits_of(half())).item() == pytest.approx(4 / 24, abs=1e-6)
    # in 3D one step in each of 3 x 4 rows of 72 voxels
    assert TotalVariationLoss()(logits_of(half((3, 4, 6)))).item() == pytest.approx(12 / 72, abs=1e-6)


def test_contour_by_hand():
    # A square of 3 x 3 in 7 x 7 erodes to its centre, which dilates to the square again: 9 - 1 voxels. Its complement
    # erodes to the outer ring of 24, which dilates to two rings, 40, so that 16 are counted.
    square = torch.zeros(7, 7)
    square[2:5, 2:5] = 1
    probs = torch.stack((square, 1 - square))[None]
    assert TotalVariationLoss("contour")(logits_of(probs)).item() == pytest.approx((8 + 16) / 98, abs=1e-6)
    line = torch.zeros(7, 7)
    line[3] = 1  # too thin for its erosion
    one = torch.stack((line, 1 - line))[None]
    assert TotalVariationLoss("contour")(logits_of(one)).item() == pytest.approx(14 / 98, abs=1e-6)  # the complement's


def test_mumford_shah_by_hand():
    # Class 0 has the intensities 0 and 2 (mean 1), class 1 has 5 throughout: (1 + 1) x 2 rows of 8 voxels.
    image = torch.tensor([[0.0, 2.0, 5.0, 5.0]]).repeat(2, 1)[None, None]
    regions = MumfordShahLoss(smoothness=0)(logits_of(half((2, 4))), image).item()
    assert regions == pytest.approx(4 / 8, abs=1e-5)
    both = MumfordShahLoss(smoothness=0.5)(logits_of(half((2, 4))), image).item()
    assert both == pytest.approx(4 / 8 + 0.5 * 2 * 2 / 8, abs=1e-5)  # two steps of 1 in each of two classes


def test_channels_add_up_and_samples_are_averaged():
    image = torch.rand(2, 1, 5, 5)
    logits = torch.randn(2, 3, 5, 5)
    loss = MumfordShahLoss(smoothness=0)
    one = loss(logits, image)
    assert torch.allclose(loss(logits, image.repeat(1, 3, 1, 1)), 3 * one)
    assert torch.allclose(one, (loss(logits[:1], image[:1]) + loss(logits[1:], image[1:])) / 2)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 3, 4, 3)])
@pytest.mark.parametrize("kind", ["differences", "contour", "mumford_shah"])
def test_gradients(kind, shape):
    torch.manual_seed(0)
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    image = torch.rand(shape[0], 1, *shape[2:], dtype=torch.float64)
    loss = MumfordShahLoss() if kind == "mumford_shah" else TotalVariationLoss(kind)
    assert torch.autograd.gradcheck(lambda z: loss(z, image) if kind == "mumford_shah" else loss(z), (logits,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits.float(), image.float()) if kind == "mumford_shah" else loss(logits.float())
    assert value.dtype == torch.float32 and bool(value.isfinite())


def test_mumford_shah_finds_the_bright_half_and_variation_removes_a_speck():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 1
    logits = (0.1 * torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))).requires_grad_()
    loss = WeightedSumLoss({"regions": (MumfordShahLoss(0.1), 1.0)})
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits, {"image": image}).backward()
        optimizer.step()
    found = logits[0].argmax(0)
    assert len(found[:, :4].unique()) == len(found[:, 4:].unique()) == 1 and found[0, 0] != found[0, 7]

    weak = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    weak[0, 0, 0] = 0
    weak[0, 0, 7] = 1
    start = torch.zeros(1, 2, 8, 8)
    start[:, 1, 2, 2] = 4.0
    start[:, 0, :4] = 2.0
    start[:, 1, 4:] = 2.0
    speck = start.clone().requires_grad_()
    smooth = WeightedSumLoss({"partial": (PartialCrossEntropyLoss(), 1.0), "tv": (TotalVariationLoss(), 5.0)})
    optimizer = torch.optim.Adam([speck], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        smooth(speck, {"weak_label": weak}).backward()
        optimizer.step()
    assert start[0].argmax(0)[2, 2] == 1 and speck[0].argmax(0)[2, 2] == 0


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"kind must be one of \['differences', 'contour'\], got 'l2'"):
        TotalVariationLoss("l2")
    with pytest.raises(ValueError, match="smoothness must be at least 0, got -1"):
        MumfordShahLoss(-1)
    with pytest.raises(ValueError, match="in 2D or 3D"):
        TotalVariationLoss()(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="2 samples"):
        MumfordShahLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(1, 1, 4, 4))
