# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from wss_monai.functional.dropped import dropped


@pytest.mark.parametrize("share", [0.125, 0.5, 0.75])
def test_a_share_is_zero_and_the_others_are_larger(share):
    torch.manual_seed(0)
    found = dropped(torch.full((3, 7, 101, 103), 2.0), share)  # no multiple of eight
    assert found.unique().tolist() == pytest.approx([0.0, 2 / (1 - share)])
    zero = (found == 0).float()
    assert float(zero.mean()) == pytest.approx(share, abs=0.005)
    for axis in range(4):  # the same in each place of the drawn words, and neighbours do not agree more than by chance
        assert float(zero.mean([a for a in range(4) if a != axis]).std()) < 0.05
        both = zero.narrow(axis, 1, zero.shape[axis] - 1) * zero.narrow(axis, 0, zero.shape[axis] - 1)
        assert float(both.mean()) == pytest.approx(share**2, abs=0.01)


def test_it_is_a_function_of_the_seed_and_goes_on_with_the_generator():
    def draw():
        return dropped(torch.ones(50), 0.5)

    torch.manual_seed(1)
    first, second = draw(), draw()
    torch.manual_seed(1)
    assert torch.equal(first, draw()) and not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_type_format_and_gradient(dtype):
    values = torch.randn(2, 3, 5, 4, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    found = dropped(values, 0.5)
    assert found.dtype == dtype and found.stride() == values.stride()
    found.sum().backward()
    assert torch.equal(values.grad, torch.where(found != 0, 2.0, 0.0).to(dtype))
    seen = torch.ones(2, 3, 1).expand(2, 3, 4)  # no memory of its own
    assert set(dropped(seen, 0.5).unique().tolist()) == {0.0, 2.0}


def test_shares_at_the_ends():
    values = torch.rand(4)
    assert dropped(values, 0.0) is values
    assert torch.isfinite(dropped(values, 0.9999)).all()
    assert dropped(torch.zeros(0, 3), 0.5).shape == (0, 3)


def test_whole_channels_of_a_sample():
    torch.manual_seed(0)
    found = dropped(torch.ones(64, 32, 3, 2), 0.5, channels=True)
    same = found.flatten(2)
    assert torch.equal(same.amin(-1), same.amax(-1)) and found.unique().tolist() == [0.0, 2.0]
    zero = (found[:, :, 0, 0] == 0).float()
    assert float(zero.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(zero.std(0).min()) > 0 and float(zero.std(1).min()) > 0  # neither by channel nor by sample alone
