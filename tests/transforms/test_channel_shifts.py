# SPDX-License-Identifier: Apache-2.0
"""Each modality shifted by itself, as the released code on cross-modality constraints does."""

from __future__ import annotations

import pytest
import torch

from wss_monai.transforms import ChannelShifts


def batch_of(count: int = 200, **more) -> dict:
    """Images of two channels that are alike: value 10 r + c in row r, column c, of 20 x 10 pixels."""
    rows, columns = torch.arange(1, 21.0), torch.arange(1, 11.0)
    image = (10 * rows[:, None] + columns).expand(count, 2, 20, 10)
    return {"image": image.clone(), "spacing": torch.ones(count, 2), "slice_tags": torch.ones(count, 2), **more}


def shifts(out: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """(B, 2, 2) shift along each axis of each channel, read off a pixel near the centre."""
    value = out[:, :, 10, 5]
    row, column = ((value - 1) // 10 - 1).round(), ((value - 1) % 10).round()
    return torch.stack((10 - row, 5 - column), -1)


def test_whole_pixels_up_to_a_tenth_each_channel_by_itself():
    batch = batch_of()
    out = ChannelShifts(2)(batch, 7)
    found = shifts(out["image"], batch["image"])
    assert found[..., 0].abs().max() == 2 and found[..., 1].abs().max() == 1  # a tenth of 20 and of 10
    assert set(found[..., 0].unique().tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    apart = (found[:, 0] != found[:, 1]).any(-1).float().mean()
    assert 0.7 < float(apart) < 1
    sample = int((found[:, 0, 0] == 2).nonzero()[0])
    moved, given = out["image"][sample, 0], batch["image"][sample, 0]
    assert (moved[:2] == 0).all()  # nothing comes in from outside
    step = int(found[sample, 0, 1])
    torch.testing.assert_close(moved[2:, 2:8], given[:-2, 2 - step : 8 - step])
    assert torch.equal(out["slice_tags"], batch["slice_tags"])


def test_a_draw_is_a_function_of_the_seed_and_none_is_none():
    batch = batch_of(4)
    first, again, other = (ChannelShifts(2)(batch, seed)["image"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(ChannelShifts(2, translation=0.0)(batch, 1)["image"], batch["image"])


def test_maps_and_other_fractions_are_refused():
    with pytest.raises(ValueError, match=r"ChannelShifts moves .* so that \['label'\] cannot follow"):
        ChannelShifts(2)(batch_of(2, label=torch.zeros(2, 1, 20, 10, dtype=torch.uint8)), 0)
    with pytest.raises(ValueError, match="translation must be between 0 and 1, got 2"):
        ChannelShifts(2, translation=2.0)
