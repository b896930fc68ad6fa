# SPDX-License-Identifier: Apache-2.0
"""Global weighted rank pooling and its decays."""

from __future__ import annotations

import pytest
import torch

from wss_monai.functional.rank_pooling import decay_of_share, rank_pooling, rescale_decay


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


class TestValue:
    def test_by_hand(self):
        values = torch.tensor([[[[0.1, 0.7], [0.4, 0.2]]]], dtype=torch.float64)
        # weights 1, .5, .25, .125 on .7, .4, .2, .1
        assert rank_pooling(values, 0.5).item() == pytest.approx((0.7 + 0.2 + 0.05 + 0.0125) / 1.875)

    @pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5), (2, 3, 3, 2, 4)])
    def test_ends_are_maximum_and_mean(self, shape):
        values = random(*shape)
        torch.testing.assert_close(rank_pooling(values, 0.0), values.flatten(2).amax(-1))
        torch.testing.assert_close(rank_pooling(values, 1.0), values.flatten(2).mean(-1))

    def test_a_decay_for_each_class(self):
        values = random(2, 3, 4, 5)
        expected = [rank_pooling(values[:, k : k + 1], d) for k, d in enumerate((0.0, 0.9, 1.0))]
        torch.testing.assert_close(rank_pooling(values, [0.0, 0.9, 1.0]), torch.cat(expected, 1))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
    def test_ranks_that_are_left_out_do_not_matter(self, dtype, decay):
        values = random(1, 2, 3000, dtype=dtype)
        weight = decay ** torch.arange(3000, dtype=torch.float64)
        ordered = values.double().sort(-1, descending=True).values
        expected = (ordered * weight).sum(-1) / weight.sum()
        torch.testing.assert_close(rank_pooling(values, decay), expected.to(dtype))

    def test_the_published_decays_hold_half_of_their_weight_on_10_and_31_percent(self):
        for decay, top in ((0.996, 173), (0.999, 523)):
            values = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
            values.view(-1)[:top] = 1
            assert rank_pooling(values, decay).item() == pytest.approx(0.5, abs=1e-3)

    @pytest.mark.parametrize("bad", [-0.1, 1.1, [0.5, 0.5], float("nan")])
    def test_wrong_decays_are_refused(self, bad):
        with pytest.raises(ValueError, match="decay must"):
            rank_pooling(random(1, 3, 4), bad)

    def test_no_voxel_is_refused(self):
        with pytest.raises(ValueError, match="at least one voxel"):
            rank_pooling(torch.zeros(1, 2, 0), 0.5)


class TestGradient:
    @pytest.mark.parametrize("decay", [0.0, 0.7, 1.0, [0.0, 0.999]])
    def test_gradcheck(self, decay):
        values = random(2, 2, 3, 4).requires_grad_()
        assert torch.autograd.gradcheck(lambda v: rank_pooling(v, decay), values)

    @pytest.mark.parametrize("decay", [0.0, 1e-9, 0.5, 1.0])
    def test_finite_and_of_sum_one_where_all_voxels_tie(self, decay):
        values = torch.full((1, 1, 6), 0.25, requires_grad=True)
        rank_pooling(values, decay).backward()
        assert values.grad.sum().item() == pytest.approx(1)
        assert (values.grad >= 0).all()


class TestDecays:
    @pytest.mark.parametrize(
        ("voxels", "present", "background"),
        [(1681, 0.996, 0.999), (4096, 0.998356, 0.999589), (2048, 0.996716, 0.999179), (16384, 0.999589, 0.999897)],
    )
    def test_rescaled_to_other_grids(self, voxels, present, background):
        assert rescale_decay(0.996, voxels) == pytest.approx(present, abs=6e-7)
        assert rescale_decay(0.999, voxels) == pytest.approx(background, abs=6e-7)
        assert (rescale_decay(0.0, voxels), rescale_decay(1.0, voxels)) == (0.0, 1.0)

    def test_rescaled_pooling_survives_nearest_upsampling(self):
        values = random(1, 2, 41, 41)
        fine = values.repeat_interleave(3, 2).repeat_interleave(2, 3)
        decay = rescale_decay(0.996, fine[0, 0].numel())
        torch.testing.assert_close(rank_pooling(fine, decay), rank_pooling(values, 0.996), rtol=2e-3, atol=0)
        unscaled = rank_pooling(fine, 0.996)
        assert ((unscaled - rank_pooling(values, 0.996)).abs() > 0.02).all()

    @pytest.mark.parametrize("decay", [0.9, 0.996, 0.999])
    def test_decay_of_a_share(self, decay):
        assert decay_of_share(0.5) == 1
        low, high = 0.0, 0.5
        for _ in range(60):  # the share by its definition, from the continuous weights
            share = (low + high) / 2
            low, high = (share, high) if (1 - decay ** (share * 1681)) / (1 - decay**1681) < 0.5 else (low, share)
        assert decay_of_share(share) == pytest.approx(decay, abs=1e-9)

    def test_shares_of_the_published_decays(self):
        assert decay_of_share(0.103, 1681) == pytest.approx(0.996, abs=2e-5)
        assert decay_of_share(0.311, 1681) == pytest.approx(0.999, abs=5e-6)
        assert decay_of_share(0.01, 16384) == pytest.approx(rescale_decay(decay_of_share(0.01), 16384), abs=1e-12)

    @pytest.mark.parametrize("share", [0.0, -0.1, 0.6, float("nan")])
    def test_wrong_shares_are_refused(self, share):
        with pytest.raises(ValueError, match="share must lie"):
            decay_of_share(share)

    def test_no_voxels_are_refused(self):
        with pytest.raises(ValueError, match="voxels must be"):
            decay_of_share(0.1, 0)
