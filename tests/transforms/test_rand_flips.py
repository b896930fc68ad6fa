# SPDX-License-Identifier: Apache-2.0
"""Flips between the two views of an image: how often, and exact on every grid."""

from __future__ import annotations

import pytest
import torch

from wss_monai.transforms import RandFlips


def signs(view):
    """(B, D) which axes were flipped, read off what the map does to a ramp along each axis."""
    ramps = torch.stack(torch.meshgrid(*(torch.arange(n) for n in view.shape), indexing="ij")).float()
    moved = view(ramps.expand(view.matrix.shape[0], *ramps.shape).clone())
    return torch.stack(
        [moved[:, axis].movedim(axis + 1, 1).flatten(2)[..., 0].diff(dim=1)[:, 0] for axis in range(len(view.shape))], 1
    )


def test_four_in_a_hundred_stay_as_they_are():
    flipped = torch.cat([signs(RandFlips()(1000, (4, 3), seed)) for seed in range(8)]) < 0
    shares = flipped.double().mean(0)
    assert shares.tolist() == pytest.approx([0.8, 0.8], abs=0.02)
    assert float((~flipped).all(1).double().mean()) == pytest.approx(0.04, abs=0.01)
    both = flipped[:, 0] & flipped[:, 1]
    assert float(both.double().mean()) == pytest.approx(0.64, abs=0.02)  # independent of each other


@pytest.mark.parametrize("shape", [(12, 8), (13, 9), (14, 10, 7)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_features_of_any_grid_move_exactly_as_the_image(shape, scale):
    """Half and quarter grids, rounded up or down: each sample's flip is torch.flip to the bit."""
    axes = list(range(len(shape)))
    view = RandFlips(axes)(16, shape, 5)
    chosen = signs(view) < 0
    assert len({tuple(row) for row in chosen.tolist()}) > 2
    for grid in ([n // scale for n in shape], [-(-n // scale) for n in shape]):
        values = torch.randn(16, 3, *grid, generator=torch.Generator().manual_seed(1))
        moved = view(values)
        for sample, flips in enumerate(chosen.tolist()):
            expected = torch.flip(values[sample], [axis + 1 for axis in axes if flips[axis]])
            assert torch.equal(moved[sample], expected)


def test_gradients_go_through_exactly():
    view = RandFlips()(3, (6, 5), 2)
    values = torch.randn(3, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 2, 6, 5, dtype=torch.float64)
    (view(values) * weights).sum().backward()
    torch.testing.assert_close(view(values.grad), weights)  # a flip is its own inverse


def test_the_map_is_a_function_of_the_seed():
    state = torch.get_rng_state()
    drawn = [RandFlips()(20, (6, 6), seed).matrix for seed in (4, 4, 5)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), state)  # and of nothing else


def test_chosen_axes_and_probabilities():
    assert bool((signs(RandFlips([0], 1.0)(9, (4, 5, 6), 0)) == torch.tensor([-1.0, 1.0, 1.0])).all())
    assert bool((signs(RandFlips([2, 0], 1.0)(9, (4, 5, 6), 0)) == torch.tensor([-1.0, 1.0, -1.0])).all())
    assert bool((signs(RandFlips(probability=0.0)(9, (4, 5), 0)) == 1).all())


@pytest.mark.parametrize("grid", [(8, 8), (7, 7), (4, 4)])
def test_quarter_turns_are_exact_and_even(grid):
    view = RandFlips([], turns=[0, 1])(400, (8, 8), 0)
    values = torch.randn(400, 1, *grid)
    moved = view(values)
    counts = [0] * 4
    for before, after in zip(values, moved, strict=True):
        fits = [k for k in range(4) if torch.equal(torch.rot90(before, k, (1, 2)), after)]
        assert len(fits) == 1
        counts[fits[0]] += 1
    assert all(70 <= count <= 130 for count in counts)


def test_turns_of_volumes_with_thick_slices():
    view = RandFlips([0], turns=[0, 1])(12, (6, 6, 3), 1)
    values = torch.arange(6 * 6 * 3.0).reshape(1, 1, 6, 6, 3).repeat(12, 1, 1, 1, 1)
    moved = view(values)
    assert torch.equal(moved.flatten(1).sort(1).values, values.flatten(1))  # a rearrangement
    assert torch.equal(moved.sum((2, 3)), values.sum((2, 3)))  # within slices


def test_the_record_of_a_run_names_what_the_draw_depends_on():
    assert repr(RandFlips([0], 0.5, [0, 1])) == "RandFlips(axes=[0], probability=0.5, turns=[0, 1])"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": []}, "axes must name different spatial axes, at least one without turns"),
        ({"axes": [0, 0]}, r"different spatial axes.*\[0, 0\]"),
        ({"axes": [-1]}, r"axes.*\[-1\]"),
        ({"probability": 1.2}, "probability must lie in 0..1, got 1.2"),
        ({"turns": [1, 1]}, r"turns must be two different spatial axes or null, got \[1, 1\]"),
        ({"turns": [0, 1, 2]}, "turns must be two different"),
        ({"turns": [-1, 0]}, "turns must be two different"),
    ],
)
def test_settings_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandFlips(**options)


def test_grids_that_are_refused():
    with pytest.raises(ValueError, match="a 2D image lacks"):
        RandFlips([0, 2])(2, (4, 4), 0)
    with pytest.raises(ValueError, match="a 2D image lacks"):
        RandFlips(turns=[1, 2])(2, (4, 4), 0)
    with pytest.raises(ValueError, match=r"equal extents along the axes .*set turns to null"):
        RandFlips(turns=[0, 1])(2, (4, 6), 0)
