# SPDX-License-Identifier: Apache-2.0
"""The map between two views: the same for images, maps and frame, exact where voxels go onto voxels."""

from __future__ import annotations

import pytest
import torch

from wss_monai.functional.spatial_map import SpatialMap
from wss_monai.transforms import RandEquivariantTransform
from wss_monai.transforms.equivariant import FAMILIES

SHAPES = [(12, 12), (9, 9), (8, 8, 5)]


def views(family, shape, seed=0, count=4, **settings):
    return RandEquivariantTransform(family, **settings)(count, shape, seed)


def images(shape, count=4, channels=2):
    return torch.rand(count, channels, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", ["flip", "turn", "translation"])
def test_a_pointwise_network_commutes_exactly(shape, family):
    """Any function of each voxel that maps 0 to 0, and any at all in the valid region."""
    view, x = views(family, shape), images(shape)
    assert view.exact()
    for network in (lambda v: torch.tanh(3 * v) * v, lambda v: torch.sin(9 * v) + 0.7):
        valid = view.valid()
        assert (network(view(x)) * valid - view(network(x)) * valid).abs().max() <= 1e-6
        assert valid.any() and set(valid.shape) >= {4, 1}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_linear_pointwise_network_commutes_with_scaling(shape):
    view, x = views("scaling", shape), images(shape)
    assert not view.exact()
    weight = torch.randn(3, 2, generator=torch.Generator().manual_seed(2))

    def network(values):
        return torch.einsum("oc,bc...->bo...", weight, values) + 0.3

    valid = view.valid()
    assert (network(view(x)) * valid - view(network(x)) * valid).abs().max() <= 1e-5
    assert valid.flatten(1).any(1).all()


def test_flips_turns_and_shifts_against_torch():
    x = images((6, 6), count=1)
    found = {tuple(views("flip", (6, 6), seed, count=1, flips=[1])(x).flatten().tolist()) for seed in range(4)}
    assert found == {tuple(x.flip(3).flatten().tolist())}
    turned = {tuple(views("turn", (6, 6), seed, count=1)(x).flatten().tolist()) for seed in range(20)}
    assert turned == {tuple(torch.rot90(x, k, (2, 3)).flatten().tolist()) for k in (1, 2, 3)}  # never the identity
    view = SpatialMap(torch.tensor([[[1.0, 0, 2], [0, 1, -1], [0, 0, 1]]]), (6, 6))
    moved = torch.zeros_like(x)
    moved[..., 2:, :5] = x[..., :4, 1:]
    assert torch.equal(view(x), moved)
    frame = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    frame[..., 2:, :5] = True
    assert torch.equal(view.valid(), frame)


def test_one_family_a_batch_and_parameters_a_sample():
    seen = set()
    for seed in range(40):
        matrix = views("all", (16, 16), seed, count=6).matrix[:, :2, :2]
        kinds = set()
        for linear, offset in zip(matrix, views("all", (16, 16), seed, count=6).matrix[:, :2, 2], strict=True):
            determinant = float(torch.det(linear))
            if determinant == pytest.approx(-1):
                kinds.add("flip")
            elif torch.equal(linear, torch.eye(2, dtype=torch.float64)):
                kinds.add("translation")
            elif determinant == pytest.approx(1):
                kinds.add("turn")
            else:
                kinds.add("scaling")
                assert 0.8**2 <= determinant <= 1.2**2
            assert offset.isfinite().all()
        assert len(kinds) == 1
        seen |= kinds
    assert seen == set(FAMILIES)
    shifts = views("translation", (20, 40), count=200).matrix[:, :2, 2]
    assert len(shifts.unique(dim=0)) > 100
    assert shifts[:, 0].abs().max() <= 6 and shifts[:, 1].abs().max() <= 12
    assert torch.equal(shifts, shifts.round())


def test_the_draw_is_a_function_of_the_seed():
    assert torch.equal(views("all", (8, 8), 5).matrix, views("all", (8, 8), 5).matrix)
    different = {tuple(views("all", (8, 8), seed).matrix.flatten().tolist()) for seed in range(10)}
    assert len(different) > 5


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_on_a_coarser_grid_move_with_the_image(family):
    """A map that is the mean of cells of the image: moving the image first gives the same where cells go onto cells."""
    shape, x = (16, 16), images((16, 16))
    view = views(family, shape, seed=3, shift=0.25)
    pooled = torch.nn.functional.avg_pool2d
    if family == "translation":  # whole cells
        view = SpatialMap(
            torch.eye(3).repeat(4, 1, 1).double() + torch.tensor([[0, 0, 4.0], [0, 0, -8], [0, 0, 0]]), shape
        )
    found, expected = view(pooled(x, 4)), pooled(view(x), 4)
    if view.exact((4, 4)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    else:
        inside = view.valid((4, 4))
        assert (found - expected)[inside.expand_as(found)].abs().mean() < 0.2
    assert view.exact((4, 4)) == (family != "scaling")


def test_gradients_flow_back_through_the_same_map():
    for family in FAMILIES:
        view = views(family, (7, 7), count=2)
        x = images((7, 7), 2, 1).double().requires_grad_()
        assert torch.autograd.gradcheck(view, x)


def test_thick_slices_stay_in_place():
    for family in ("translation", "scaling"):
        matrix = views(family, (8, 8, 4), axes=[0, 1]).matrix
        assert torch.equal(matrix[:, 2], torch.tensor([0, 0, 1.0, 0]).double().expand(4, 4))
    halves = views("turn", (8, 6), count=20).matrix[:, :2, :2]  # unequal extents: half turns alone
    assert torch.equal(halves, -torch.eye(2, dtype=torch.float64).expand(20, 2, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "shear"}, "family must be"),
        ({"family": []}, "family must be"),
        ({"flips": []}, "flips must name"),
        ({"turns": [0, 0]}, "turns must be two different"),
        ({"shift": 1.0}, "shift must be"),
        ({"scaling": [1.2, 0.8]}, "scaling must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RandEquivariantTransform(**settings)


def test_tensors_and_axes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="name axes that a 2D image lacks"):
        RandEquivariantTransform(flips=[2])(2, (8, 8), 0)
    with pytest.raises(ValueError, match="values must be"):
        views("flip", (8, 8))(torch.zeros(3, 1, 8, 8))
    with pytest.raises(ValueError, match="matrix must be"):
        SpatialMap(torch.eye(3)[None], (4, 4, 4))


class TestSizes:
    """Published scaling: the image itself gets another size, corner onto corner."""

    def test_it_is_what_torch_resizes(self):
        x = images((240, 20), count=3)
        seen = set()
        for seed in range(40):
            view = views("scaling", (240, 20), seed, count=3, sizes=[16, 32, 8])
            out = view(x)
            seen.add(tuple(out.shape[2:]))
            wanted = torch.nn.functional.interpolate(x, out.shape[2:], mode="bilinear", align_corners=True)
            torch.testing.assert_close(out, wanted, atol=1e-4, rtol=0)
        assert seen == {(16, 16), (24, 24), (32, 32)}

    def test_all_published_sizes_come_up_evenly(self):
        sizes = [views("scaling", (256, 256), seed, count=1, sizes=[192, 288, 8]).frame[0] for seed in range(1300)]
        counts = {size: sizes.count(size) for size in sizes}
        assert sorted(counts) == list(range(192, 289, 8)) and min(counts.values()) > 60  # 100 on the average

    def test_the_same_size_changes_nothing_and_other_families_keep_theirs(self):
        x = images((16, 16))
        assert torch.equal(views("scaling", (16, 16), sizes=[16, 16, 8])(x), x)
        assert views("translation", (16, 16), sizes=[24, 24, 8])(x).shape == x.shape

    def test_axes_and_grids_with_other_cells(self):
        view = views("scaling", (16, 16, 5), sizes=[24, 24, 8], axes=[0, 1])
        assert view(images((16, 16, 5))).shape[2:] == (24, 24, 5)
        ramp = torch.linspace(0, 1, 8).view(1, 1, 8, 1, 1).expand(4, 1, 8, 8, 5)  # cells of two voxels
        coarse = view(ramp)
        assert coarse.shape[2:] == (12, 12, 5)
        inner = coarse[0, 0, 1:-1, 4, 2]
        assert torch.allclose(inner.diff(), inner.diff().mean().expand(9), atol=1e-5)  # a ramp it stays
        assert view.valid().shape == (4, 1, 24, 24, 5) and view.valid().all()

    @pytest.mark.parametrize("sizes", [[16, 8, 4], [8, 16], [0, 8, 4], [8, 16, 0]])
    def test_sizes_that_cannot_be(self, sizes):
        with pytest.raises(ValueError, match="sizes must be a smallest and a largest extent"):
            RandEquivariantTransform(sizes=sizes)
