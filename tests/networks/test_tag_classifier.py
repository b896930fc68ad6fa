# SPDX-License-Identifier: Apache-2.0
"""The classifier of tags and its maps."""

from __future__ import annotations

import pytest
import torch

from wss_monai.functional.cams.cues import cue_map, gradient_saliency
from wss_monai.losses import TagLoss
from wss_monai.networks import TagClassifier


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("stride", "grid"), [(1, 16), (2, 8), (4, 4), (8, 2)])
def test_shapes_and_the_mean_of_a_map_is_its_logit(dims, stride, grid):
    network = TagClassifier(dims, 2, num_classes=4, channels=(4, 4, 4, 6), stride=stride).eval()
    image = torch.randn(2, 2, *(16,) * dims)
    logits, maps = network(image), network.maps(image)
    assert logits.shape == (2, 3) and maps.shape == (2, 3, *(grid,) * dims)
    torch.testing.assert_close(maps.flatten(2).mean(2), logits)
    assert network.linear.bias is None


def test_weights_carry_over_and_any_size_will_do():
    network = TagClassifier(2, 1, num_classes=2, channels=(2, 2, 2)).eval()
    other = TagClassifier(2, 1, num_classes=2, channels=(2, 2, 2)).eval()
    other.load_state_dict(network.state_dict())
    image = torch.randn(1, 1, 17, 13)
    assert torch.equal(network(image), other(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3"),
        ({"in_channels": 0}, "in_channels must be 1 or more"),
        ({"channels": (4, 0, 4)}, r"channels\[1\] must be 1 or more"),
        ({"num_classes": 1}, "num_classes must be 2 or more"),
        ({"stride": 16}, "stride must be one of"),
        ({"stride": 8, "channels": (4, 4, 4)}, "channels must name 4 blocks or more for stride 8"),
        ({"stride": 1, "channels": (4,)}, "channels must name 2 blocks"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        TagClassifier(**settings)


def disc_images(count: int, seed: int):
    """Noisy squares of 32 pixels, half of which show a bright disc at a random place."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    centre = 8 + 16 * torch.rand(count, 2, generator=generator)
    inside = (y - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2 < 25
    shown = torch.arange(count) % 2 == 0
    inside &= shown[:, None, None]
    image = 0.3 * torch.randn(count, 1, 32, 32, generator=generator) + inside[:, None]
    return image, inside, torch.stack((torch.ones(count), shown), 1).long()


def test_learns_discs_from_tags_and_its_map_peaks_inside():
    torch.manual_seed(0)
    network = TagClassifier(2, 1, num_classes=2, channels=(8, 8), stride=2)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    image, _, tags = disc_images(64, 0)
    for step in range(40):
        part = torch.arange(step * 16, step * 16 + 16) % 64
        optimizer.zero_grad()
        TagLoss()(network(image[part]), tags[part]).backward()
        optimizer.step()
    network.eval()
    image, inside, tags = disc_images(20, 1)
    with torch.no_grad():
        logits, maps = network(image), network.maps(image)
        maps = torch.nn.functional.interpolate(maps, size=(32, 32), mode="bilinear")
    saliency = gradient_saliency(network.features(image), network.head)
    assert saliency.shape == (20, 1, 16, 16) and torch.isfinite(saliency).all()
    assert saliency[0].unique().numel() > 100  # not the same everywhere
    positive = tags[:, 1] == 1
    assert ((logits[:, 0] > 0) == positive).float().mean() >= 0.9
    peak = maps[positive].flatten(1).argmax(1)
    hit = inside[positive].flatten(1).gather(1, peak[:, None])
    assert hit.float().mean() >= 0.9
    cues = cue_map(maps[0].numpy(), maps[0, 0].abs().numpy(), [1, 1], fraction=0.5)
    assert inside[0].numpy()[cues == 1].mean() > 3 * inside[0].float().mean()
