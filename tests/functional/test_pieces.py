# SPDX-License-Identifier: Apache-2.0
"""Stray pieces of a class: which pieces there are, what lies outside of the largest, and constraints that remove it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from wss_monai.functional.descriptors import StrayShare, completed
from wss_monai.functional.pieces import label_pieces, stray_voxels
from wss_monai.losses import ConstraintLoss, LogBarrierExtension, QuadraticPenalty

INF = math.inf


def blobs(*corners: tuple[int, int, int], shape: tuple[int, int] = (12, 12)) -> torch.Tensor:
    """Masks (1, 1, H, W) of squares, each by its first corner and its size."""
    mask = torch.zeros(1, 1, *shape)
    for y, x, size in corners:
        mask[..., y : y + size, x : x + size] = 1
    return mask


def spiral(size: int) -> np.ndarray:
    """One line that goes round and round: the longest way through a mask."""
    mask, y, x, way = np.zeros((size, size), bool), 0, 0, 0
    turns = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    mask[y, x] = True
    for length in [size - 1, *(n for n in range(size - 1, 0, -2) for _ in (0, 1))]:
        for _ in range(length):
            y, x = y + turns[way][0], x + turns[way][1]
            mask[y, x] = True
        way = (way + 1) % 4
    return mask


def masks(dims: int) -> torch.Tensor:
    R = np.random.RandomState(0)
    shape = (64, 64) if dims == 2 else (12, 20, 16)
    made = [R.rand(*shape) < share for share in (0, 0.05, 0.2, 0.35, 0.4, 0.45, 0.6, 1)]
    made += [ndimage.gaussian_filter(R.randn(*shape), width) > 0 for width in (1, 2, 4)]
    return torch.from_numpy(np.stack([*made, spiral(64)] if dims == 2 else made))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_pieces_of_tensor_operations_are_those_of_scipy(dims):
    shown = masks(dims)
    for ours, mask in zip(label_pieces(shown), shown, strict=True):
        theirs, count = ndimage.label(mask, np.ones([3] * dims))
        pairs = torch.stack((ours.flatten(), torch.from_numpy(theirs).flatten())).unique(dim=1)
        assert pairs.shape[1] == len(ours.unique()) == count + (not bool(mask.all()))
        assert torch.equal(ours > 0, mask)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_on_a_device_the_same_is_stray(dims, pieces, monkeypatch):
    shown = masks(dims)
    weight = torch.rand(shown.shape, generator=torch.Generator().manual_seed(0)) * shown
    host = stray_voxels(shown, weight, pieces)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(stray_voxels(shown, weight, pieces), host)
    for stray, mask in zip(host, shown, strict=True):
        count = ndimage.label(mask, np.ones([3] * dims))[1]
        assert ndimage.label(mask & ~stray, np.ones([3] * dims))[1] == min(count, pieces)


class TestHandValues:
    MASK = blobs((0, 0, 4), (6, 6, 2), (10, 0, 1))  # 16, 4 and 1 voxels

    def test_the_part_outside_of_the_largest(self):
        assert StrayShare()(self.MASK).item() == pytest.approx(5 / 21)
        assert StrayShare(pieces=2)(self.MASK).item() == pytest.approx(1 / 21)
        assert StrayShare(pieces=3)(self.MASK).item() == 0 == StrayShare(pieces=9)(self.MASK).item()
        assert StrayShare()(blobs((3, 3, 5))).item() == 0 == StrayShare()(blobs()).item()

    def test_mass_decides_which_is_the_largest(self):
        soft = blobs((0, 0, 4)) * 0.5 + blobs((6, 6, 3))
        assert StrayShare()(soft).item() == pytest.approx(8 / 17)

    def test_what_is_faint_is_of_no_piece(self):
        soft = blobs((0, 0, 4)) + 0.4 * blobs((6, 6, 3))
        assert StrayShare()(soft).item() == 0
        assert StrayShare(threshold=0.3)(soft).item() == pytest.approx(3.6 / 19.6)

    def test_corners_connect(self):
        assert StrayShare()(blobs((0, 0, 3), (3, 3, 3))).item() == 0

    def test_a_volume(self):
        volume = torch.zeros(1, 1, 6, 6, 6)
        volume[..., :3, :3, :3], volume[..., 5, 5, 5] = 1, 1
        assert StrayShare()(volume).item() == pytest.approx(1 / 28)
        assert StrayShare()(volume, spacing=torch.tensor([[1.0, 2.0, 9.0]])).item() == pytest.approx(1 / 28)

    def test_what_is_drawn_in_comes_first(self):
        probs = torch.cat((1 - self.MASK, self.MASK), 1)
        drawn = torch.full((1, 1, 12, 12), 255, dtype=torch.uint8)
        assert StrayShare(drawn=True)(probs, region=drawn)[0, 1].item() == pytest.approx(5 / 21)
        drawn[..., 6, 6] = 1
        assert StrayShare(drawn=True)(probs, region=drawn)[0, 1].item() == pytest.approx(17 / 21)
        assert StrayShare(drawn=True, pieces=2)(probs, region=drawn)[0, 1].item() == pytest.approx(1 / 21)
        drawn[..., :2, 0] = 0  # background, drawn where the class is predicted
        assert StrayShare(drawn=True)(probs, region=drawn)[0, 1].item() == pytest.approx(17 / 21)

    def test_only_stray_voxels_are_pushed_down(self):
        probs = (0.9 * self.MASK).requires_grad_()
        StrayShare()(probs).sum().backward()
        stray = (self.MASK > 0) & ~(blobs((0, 0, 4)) > 0)
        assert (probs.grad[stray] > 0).all() and (probs.grad[blobs((0, 0, 4)) > 0] < 0).all()
        assert (probs.grad[self.MASK == 0] == 0).all()
        assert probs.grad[stray].min() > 2 * probs.grad.min().abs()


def test_words_and_errors():
    stray = StrayShare()
    assert (stray.units(2), stray.units(3), stray.shown([1.0, 2.0])) == (("1",), ("1",), (1.0, "1"))
    assert completed(stray) is stray and not stray.joint() and StrayShare(drawn=True).joint()
    for wrong in ({"pieces": 0}, {"pieces": 1.5}, {"threshold": 1.0}, {"threshold": "half"}, {"drawn": "yes"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            StrayShare(**wrong)
    with pytest.raises(ValueError, match=r"drawn needs a region .* got none. Set region_key to weak_label"):
        StrayShare(drawn=True)(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"got \(1, 2, 4, 4\)"):
        StrayShare(drawn=True)(torch.zeros(1, 2, 4, 4), region=torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize("penalty", [QuadraticPenalty(), LogBarrierExtension(t=50)], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("drawn", [False, True])
def test_two_blobs_become_one(penalty, drawn):
    """The larger one, or the one that is drawn in."""
    mask = blobs((1, 1, 5), (8, 8, 3))
    logits = torch.cat((3 - 6 * mask, 6 * mask - 3), 1).requires_grad_()
    bounds = torch.tensor([[-INF, INF], [-INF, 0.02]])[None, :, None]
    region = torch.full((1, 1, 12, 12), 255, dtype=torch.uint8)
    region[..., 9, 9] = 1
    constraint = ConstraintLoss(StrayShare(drawn=drawn), penalty, classes=[1])
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        constraint(logits, bounds, region=region if drawn else None).backward()
        optimizer.step()
    hard = logits.detach().argmax(1).float()[None]
    kept, gone = blobs((1, 1, 5)), blobs((8, 8, 3))
    kept, gone = (gone, kept) if drawn else (kept, gone)
    assert (hard * kept).sum() == kept.sum() and (hard * gone).sum() == 0
