# SPDX-License-Identifier: Apache-2.0
"""How much areas change from slice to slice: values by hand, slopes, and bounds after a move."""

from __future__ import annotations

import math

import pytest
import torch

from wss_monai.functional.area_change import AreaChange
from wss_monai.transforms import BatchAugment

INF = math.inf
SPACING = torch.tensor([[2.0, 0.5, 8.0]])


def stack(*sizes: int, axis: int = 2) -> torch.Tensor:
    """Probabilities (1, 2, ...) of a class of so many voxels in each slice of 4 x 4."""
    slices = torch.zeros(len(sizes), 16)
    for row, size in zip(slices, sizes, strict=True):
        row[:size] = 1
    volume = slices.view(-1, 4, 4).movedim(0, axis)
    return torch.stack((1 - volume, volume))[None]


def test_by_hand():
    assert AreaChange()(stack(3, 5, 12), spacing=SPACING)[0, 1].tolist() == [0.25, 0.875]


def test_another_axis_and_shares():
    spacing = torch.tensor([[8.0, 2.0, 0.5]])
    measure = AreaChange(slice_axis=0, relative=True)(stack(3, 5, 12, axis=0), spacing=spacing)
    mean = (9 + 25 + 144) / 20
    assert measure[0, 1].tolist() == pytest.approx([0.25 / mean, 0.875 / mean])


def test_only_between_the_first_and_the_last_slice_that_show_the_class():
    found = AreaChange()(stack(0, 0, 3, 0, 4, 0), spacing=SPACING)[0, 1]
    assert found.isnan().tolist() == [True, True, False, False, True]
    assert found[2:4].tolist() == [3 / 8, 4 / 8]


def test_empty_classes_and_single_slices_have_no_value():
    assert bool(AreaChange()(stack(0, 0, 0), spacing=SPACING)[0, 1].isnan().all())
    assert AreaChange()(stack(5), spacing=SPACING).shape == (1, 2, 1)
    assert bool(AreaChange()(stack(5), spacing=SPACING).isnan().all())


def test_a_region():
    region = torch.ones(1, 1, 4, 4, 2, dtype=torch.uint8)
    region[:, :, 0] = 255
    assert AreaChange()(stack(6, 16), region=region, spacing=SPACING)[0, 1].tolist() == [(12 - 2) / 8]


@pytest.mark.parametrize("relative", [False, True])
def test_gradient(relative):
    probs = (0.6 + 0.4 * torch.rand(2, 2, 3, 2, 4, dtype=torch.float64)).requires_grad_()
    spacing = SPACING.double().repeat(2, 1)
    measure = AreaChange(relative=relative)(probs, spacing=spacing)
    assert measure.shape == (2, 2, 3) and not bool(measure.isnan().any())
    if not relative:  # whose divisor is a constant for the gradient
        assert torch.autograd.gradcheck(lambda p: AreaChange()(p, spacing=spacing), (probs,))
    AreaChange(relative=relative)(stack(0, 3, 0).requires_grad_(), spacing=SPACING).nan_to_num().sum().backward()


def test_refusals():
    with pytest.raises(ValueError, match="compares the slices of a volume"):
        AreaChange()(torch.rand(1, 2, 4, 4))
    with pytest.raises(ValueError, match="in 3D needs spacing"):
        AreaChange()(torch.rand(1, 2, 4, 4, 3))


def moved(descriptor: AreaChange, linear: torch.Tensor, cut: bool = False) -> list[float]:
    matrix = torch.eye(len(linear) + 1).repeat(1, 1, 1)
    matrix[0, :-1, :-1] = linear
    bounds = torch.tensor([1.0, 100.0]).repeat(1, 2, 1, 1)
    return descriptor.move(bounds, matrix, torch.tensor([[cut, cut]]))[0, 1, 0].tolist()


def test_bounds_after_a_move():
    zoomed = torch.diag(torch.tensor([1.5, 1.5]))
    assert moved(AreaChange(), zoomed) == pytest.approx([2.25, 225.0])  # of slices
    assert moved(AreaChange(relative=True), zoomed) == pytest.approx([1.0, 100.0])
    flat, steep = torch.diag(torch.tensor([1.5, 1.5, 1.0])), torch.diag(torch.tensor([1.0, 1.0, 2.0]))
    assert moved(AreaChange(), flat) == pytest.approx([2.25, 225.0])
    assert moved(AreaChange(), steep) == pytest.approx([0.5, 50.0])
    assert moved(AreaChange(relative=True), steep) == pytest.approx([0.5, 50.0])
    assert moved(AreaChange(), flat, cut=True) == [-INF, INF]
    turn = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    assert moved(AreaChange(), turn) == [-INF, INF]  # slices are no slices any more
    assert moved(AreaChange(slice_axis=0), turn) == pytest.approx([1.0, 100.0])


def test_a_turned_and_zoomed_volume_keeps_its_moved_bounds():
    """What an augmented map measures is what the moved bounds say, with unequal voxels; areas grow evenly here."""
    x, y, z = torch.meshgrid(*[torch.arange(n) - n // 2 for n in (40, 40, 17)], indexing="ij")
    heart = ((1.2 * x) ** 2 + y**2 < 110 + 8 * z).float()[None, None]
    spacing = torch.tensor([[1.2, 1.0, 6.0]])
    augment = BatchAugment(
        2, flips=(0, 1, 2), turns=None, rotation=40, scaling=0.3, translation=0.02, affine_probability=1.0,
        intensity_probability=0.0,
    )  # fmt: skip
    descriptor, errors, factors = AreaChange(), [], []

    def measure(heart: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return descriptor(torch.cat((1 - heart, heart), 1), spacing=steps)[0, 1, 2:-2].nanmean()

    before = measure(heart, spacing)
    bounds = before.expand(1, 2, 1, 2)
    for seed in range(8):
        out = augment({"image": heart, "spacing": spacing}, seed)
        limits = descriptor.move(bounds, out["matrix"], torch.zeros(1, 2).bool(), (spacing, out["spacing"]))[0, 1, 0]
        after = measure(out["image"], out["spacing"])
        errors.append(abs(math.log(after / limits[0])))
        factors.append(abs(math.log(limits[0] / before)))
    assert max(errors) < 0.05 and max(factors) > 0.2
