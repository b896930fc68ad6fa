# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from wss_monai.networks import ShallowCNN


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        # 9 x (1 x 16 + 16 x 16 + 16 x K) + 2 x (16 + 16 + K) + 3
        ({}, 2807),
        ({"out_channels": 4}, 3099),
        ({"in_channels": 3}, 2807 + 9 * 2 * 16),
        # The last layer gives up 2 x 2 + 1 for a bias of 2.
        ({"normalize_logits": False}, 2804),
        ({"spatial_dims": 3}, 27 * (16 + 256 + 32) + 71),
    ],
)
def test_number_of_weights(arguments, count):
    assert weights(ShallowCNN(**arguments)) == count


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 9, 14), (3, 2, 8, 8), (1, 1, 7, 6, 5)])
def test_logits_have_the_shape_of_the_image(shape, normalize):
    network = ShallowCNN(len(shape) - 2, shape[1], 3, normalize_logits=normalize)
    logits = network(torch.rand(shape))
    assert logits.shape == (shape[0], 3, *shape[2:])
    assert network.dimensions == len(shape) - 2


@pytest.mark.parametrize("dims", [2, 3])
def test_seven_pixels_see_each_other(dims):
    network = ShallowCNN(dims).eval()
    image = torch.rand(1, 1, *(15,) * dims, requires_grad=True)
    middle = (slice(None), slice(None), *(7,) * dims)
    network(image)[middle].sum().backward()
    assert image.grad is not None
    seen = image.grad[0, 0] != 0
    window = torch.zeros_like(seen)
    window[(slice(4, 11),) * dims] = True
    assert torch.equal(seen, window)


def test_logits_are_normalised_over_the_batch_unless_they_are_plain():
    torch.manual_seed(0)
    image = 100 * torch.rand(2, 1, 24, 24)
    # Between normalisation and activation mean 0 and variance about 1, whatever the image; PReLU then lifts the mean.
    normalised = ShallowCNN().train()
    before: list[torch.Tensor] = []
    normalised.layers[2].adn.N.register_forward_hook(lambda module, inputs, output: before.append(output))
    normalised(image)
    assert before[0].mean((0, 2, 3)).abs().max() < 1e-5
    assert (before[0].std((0, 2, 3)) - 1).abs().max() < 0.1
    plain = ShallowCNN(normalize_logits=False).layers[2]
    assert list(dict(plain.named_modules())) == ["", "conv"] and plain.conv.bias is not None


def test_initial_weights():
    torch.manual_seed(0)
    network = ShallowCNN(features=64)
    convolution = network.layers[1].conv
    assert convolution.weight.std().item() == pytest.approx((2 / (9 * 64 + 9 * 64)) ** 0.5, rel=0.02)
    scales = torch.cat([layer.adn.N.weight for layer in network.layers[:2]])
    assert scales.mean().item() == pytest.approx(1, abs=0.01) and scales.std().item() == pytest.approx(0.02, rel=0.3)
    assert all((layer.adn.N.bias == 0).all() for layer in network.layers)
    assert all(layer.conv.bias is None for layer in network.layers)


@pytest.mark.parametrize("normalize", [True, False])
def test_weights_travel_by_state_dict_script_and_trace(normalize):
    torch.manual_seed(0)
    first, second = (ShallowCNN(normalize_logits=normalize) for _ in range(2))
    image = torch.rand(2, 1, 16, 12)
    first(image)  # moves the running statistics
    second.load_state_dict(first.state_dict())
    first.eval(), second.eval()
    torch.testing.assert_close(second(image), first(image))
    torch.testing.assert_close(torch.jit.script(first)(image), first(image))
    torch.testing.assert_close(torch.jit.trace(first, image)(image[:1, :, :8]), first(image[:1, :, :8]))


def test_a_step_with_one_image_under_autocast():
    network = ShallowCNN()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(1, 1, 16, 16))
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"features": 0}, "features must be 1 or more, got 0"),
        ({"in_channels": -1}, "in_channels must be 1 or more, got -1"),
        ({"out_channels": 0}, "out_channels must be 1 or more, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShallowCNN(**arguments)


def test_instance_normalisation_evaluates_as_batch_normalisation_trains_on_one_image():
    torch.manual_seed(0)
    batch, instance = ShallowCNN(), ShallowCNN(norm="instance")
    instance.load_state_dict({name: v for name, v in batch.state_dict().items() if name in instance.state_dict()})
    assert sum(p.numel() for p in instance.parameters()) == 2807
    image = torch.rand(1, 1, 20, 20)
    torch.testing.assert_close(instance.eval()(image), batch.train()(image))
    with pytest.raises(ValueError, match="norm must be"):
        ShallowCNN(norm="group")
