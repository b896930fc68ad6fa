# SPDX-License-Identifier: Apache-2.0
"""Cues and images on coarser grids."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wss_monai.functional.cue_maps import block_mean, cues_on_grid, grid_steps, grid_strides, image_on_grid


def row(values: list[int], dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)[None, None]


class TestGrid:
    @pytest.mark.parametrize(
        ("fine", "coarse", "stride"),
        [
            (321, 41, 8),  # LargeFOV
            (17, 3, 8),
            (49, 7, 8),  # seven blocks of seven too, but strides of networks are powers of two
            (9, 9, 1),
            (1, 1, 1),
            (256, 32, None),
            (64, 4, None),  # centres 21 apart fit too
            (4, 2, None),
            (250, 32, None),
            (5, 1, None),
        ],
    )
    def test_centres_or_blocks(self, fine, coarse, stride):
        assert grid_strides((fine,), (coarse,)) == [stride]
        assert grid_steps((fine,), (coarse,)) == [stride or fine / coarse]

    @pytest.mark.parametrize("coarse", [(5,), (4, 5), (4, 0), (4, 4, 4)])
    def test_other_or_finer_grids_are_refused(self, coarse):
        with pytest.raises(ValueError, match=r"image of \(4, 4\) cannot be put on a grid of"):
            image_on_grid(torch.zeros(1, 1, 4, 4), coarse)
        with pytest.raises(ValueError, match=r"cues of \(4, 4\) cannot be put on a grid of"):
            cues_on_grid(torch.zeros(1, 1, 4, 4), coarse, 2)


class TestCues:
    def test_blocks_keep_a_single_voxel(self):
        cues = torch.full((1, 1, 8, 8), 255)
        cues[0, 0, 3, 4] = 2
        expected = torch.full((1, 1, 2, 2), 255)
        expected[0, 0, 0, 1] = 2
        assert torch.equal(cues_on_grid(cues, (2, 2), 3), expected)

    def test_centres_take_the_nearest_cell_halves_up(self):
        for x, cell in ((0, 0), (3, 0), (4, 1), (11, 1), (12, 2), (16, 2)):
            cues = torch.full((1, 1, 17), 255)
            cues[0, 0, x] = 1
            assert cues_on_grid(cues, (3,), 2)[0, 0].tolist() == [1 if c == cell else 255 for c in range(3)]

    def test_the_smaller_area_takes_a_cell(self):
        # 4 blocks of 3: class 1 in cells 0, 1, 2; class 2 in cells 1, 3; class 0 in cell 2 alone
        cues = row([1, 1, 1, 1, 2, 1, 0, 0, 1, 2, 255, 255])
        assert cues_on_grid(cues, (4,), 3)[0, 0].tolist() == [1, 2, 0, 2]

    def test_areas_are_counted_in_cells(self):
        # class 1 has more voxels than class 2, but lies in fewer cells
        cues = row([1, 1, 1, 2, 2, 255, 255, 255])
        assert cues_on_grid(cues, (2,), 3)[0, 0].tolist() == [1, 2]

    def test_of_equal_areas_the_higher_index_wins(self):
        assert cues_on_grid(row([0, 0, 0, 1]), (1,), 3)[0, 0].tolist() == [1]
        assert cues_on_grid(row([2, 1, 0, 0]), (1,), 3)[0, 0].tolist() == [2]

    def test_samples_do_not_mix(self):
        one, other = row([1, 2, 1, 255]), row([2, 1, 2, 255])
        both = cues_on_grid(torch.cat((one, other)), (2,), 3)
        assert both[:, 0].tolist() == [[2, 1], [1, 2]]

    def test_equal_shapes_return_the_cues(self):
        cues = row([0, 255, 2])
        assert cues_on_grid(cues, (3,), 3) is cues

    @pytest.mark.parametrize(("fine", "coarse"), [((17, 25), (3, 4)), ((16, 24), (2, 3)), ((8, 12, 5), (4, 3, 5))])
    def test_every_class_of_a_cell_is_seen(self, fine, coarse):
        generator = torch.Generator().manual_seed(0)
        cues = torch.where(torch.rand((2, 1, *fine), generator=generator) < 0.02, 1, 255)
        grid = cues_on_grid(cues, coarse, 2)
        expected = torch.full((2, 1, *coarse), 255)
        for sample, _, *place in (cues == 1).nonzero().tolist():
            cell = [
                int(x * m / s) if stride is None else int(x / stride + 0.5)
                for x, s, m, stride in zip(place, fine, coarse, grid_strides(fine, coarse), strict=True)
            ]
            expected[(sample, 0, *cell)] = 1
        assert torch.equal(grid, expected)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
    def test_keeps_the_type(self, dtype):
        grid = cues_on_grid(row([255, 1, 255, 255], dtype), (2,), 2)
        assert grid.dtype == dtype and grid[0, 0].tolist() == [1, 255]

    @pytest.mark.parametrize("wrong", [3, -1])
    def test_a_class_too_many_is_refused(self, wrong):
        with pytest.raises(ValueError, match=f"the map of cues holds class {wrong}, but there are 3 classes"):
            cues_on_grid(row([0, wrong, 1, 1], torch.int64), (2,), 3)

    def test_one_hot_maps_are_refused(self):
        with pytest.raises(ValueError, match="cues must be an index map"):
            cues_on_grid(torch.zeros(1, 3, 4, 4), (2, 2), 3)


class TestImage:
    def test_centres_are_sampled(self):
        image = torch.rand(2, 3, 321, 17)
        assert torch.equal(image_on_grid(image, (41, 3)), image[:, :, ::8, ::8])

    def test_blocks_are_averaged(self):
        image = torch.rand(2, 3, 8, 12, 5)
        torch.testing.assert_close(image_on_grid(image, (4, 4, 5)), F.avg_pool3d(image, (2, 3, 1)))

    def test_axes_may_differ(self):
        image = torch.rand(1, 1, 17, 11)
        torch.testing.assert_close(image_on_grid(image, (3, 4)), F.adaptive_avg_pool2d(image[:, :, ::8], (3, 4)))

    def test_equal_shapes_return_the_image(self):
        image = torch.rand(1, 2, 5, 6)
        assert torch.equal(image_on_grid(image, (5, 6)), image)


class TestBlockMean:
    @pytest.mark.parametrize(("shape", "stride"), [((7, 8), (2, 3)), ((5, 6, 4), (1, 4, 2)), ((3, 2), (4, 4))])
    def test_equals_pooling_with_cut_blocks(self, shape, stride):
        values = torch.rand(2, 3, *shape, dtype=torch.float64)
        pool = F.avg_pool2d if len(shape) == 2 else F.avg_pool3d
        kernel = tuple(min(k, n) for k, n in zip(stride, shape, strict=True))
        expected = pool(values, kernel, kernel, ceil_mode=True)
        torch.testing.assert_close(block_mean(values, stride), expected)

    def test_one_is_identity(self):
        values = torch.rand(1, 2, 3, 4)
        assert block_mean(values, (1, 1)) is values
