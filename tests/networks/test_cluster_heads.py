# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wss_monai.networks import ClusterHead


def weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def alone(head: ClusterHead, number: int, features: torch.Tensor) -> torch.Tensor:
    """The logits of one of the heads, computed from its own weights by itself, features (N, C, voxels)."""
    layers = [head.first] if head.second is None else [head.first, head.second]
    for layer in layers:
        width = len(layer.weight) // head.num_heads
        own = slice(number * width, (number + 1) * width)
        if layer is head.second:
            features = torch.where(features > 0, features, 0.01 * features)
        features = torch.einsum("kc,ncx->nkx", layer.weight[own].flatten(1), features) + layer.bias[own, None]
    return features


@pytest.mark.parametrize(("channels", "pooled", "count"), [(256, True, 25_700), (32, False, 3_300), (16, False, 1_700)])
def test_number_of_weights_is_the_published_one(channels, pooled, count):
    assert weights(ClusterHead(channels, 2, pooled=pooled)) == count


@pytest.mark.parametrize(("pooled", "hidden"), [(True, 128), (False, 64)])
@pytest.mark.parametrize("dims", [2, 3])
def test_number_of_weights_with_a_hidden_layer(pooled, hidden, dims):
    head = ClusterHead(6, dims, num_clusters=3, num_heads=2, kind="mlp", pooled=pooled)
    assert weights(head) == 2 * (6 * hidden + hidden + hidden * 3 + 3)


def test_value_by_hand():
    head = ClusterHead(1, 2, num_clusters=2, num_heads=2, pooled=True)
    with torch.no_grad():
        head.first.weight.copy_(torch.tensor([[0.0], [1.0], [0.0], [2.0]]))
        head.first.bias.zero_()
    odds = math.log(3)  # mean of the features below
    found = head(torch.tensor([[[[0.0, 2 * odds]]]]))
    assert torch.allclose(found, torch.tensor([[1 / 4, 3 / 4, 1 / 10, 9 / 10]]))
    head.temperature = 0.5
    assert torch.allclose(head(torch.tensor([[odds]])), torch.tensor([[1 / 10, 9 / 10, 1 / 82, 81 / 82]]))
    head.normalize, head.temperature = True, 1.0
    e = math.e
    assert torch.allclose(head(torch.tensor([[odds]])), torch.tensor([[1 / (1 + e), e / (1 + e)] * 2]))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (1, 4, 2, 3, 4)])
def test_heads_are_independent_of_each_other(kind, pooled, normalize, shape):
    head = ClusterHead(4, len(shape) - 2, 3, 5, kind, pooled, normalize, 0.7).double()
    features = torch.randn(shape, dtype=torch.float64)
    flat = features.flatten(2)
    flat = flat.mean(2, keepdim=True) if pooled else flat
    expected = []
    for number in range(5):
        logits = alone(head, number, flat)
        logits = F.normalize(logits, dim=1) if normalize else logits
        expected.append((logits / 0.7).softmax(1))
    found = head(features)
    assert found.shape == ((shape[0], 15) if pooled else (shape[0], 15, *shape[2:]))
    assert torch.allclose(found.reshape(shape[0], 15, -1), torch.cat(expected, 1))
    assert torch.allclose(found.unflatten(1, (5, 3)).sum(2), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
def test_each_head_starts_as_it_would_on_its_own(pooled, dims):
    """Uniform within one over the root of the inputs that an output has."""
    torch.manual_seed(0)
    head = ClusterHead(25, dims, 20, 8, "mlp", pooled)
    hidden = 128 if pooled else 64
    for layer, inputs in ((head.first, 25), (head.second, hidden)):
        for values in (layer.weight, layer.bias):
            bound = inputs**-0.5
            assert 0.95 * bound < values.abs().max() <= bound
            assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck(kind, pooled, normalize):
    torch.manual_seed(0)
    head = ClusterHead(3, 2, 2, 2, kind, pooled, normalize, 0.5).double()
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, features)


@pytest.mark.parametrize("pooled", [True, False])
def test_autocast_and_half_precision_give_float32(pooled):
    head = ClusterHead(4, 2, 3, 2, "mlp", pooled)
    features = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features.bfloat16())
    assert found.dtype == torch.float32
    assert torch.allclose(found.unflatten(1, (2, 3)).sum(2), torch.ones(()), atol=1e-6)
    assert torch.allclose(found, head(features), atol=0.02)
    assert copy.deepcopy(head).bfloat16()(features.bfloat16()).dtype == torch.float32
    assert head.double()(features.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 0}, "in_channels must be a whole number of 1 or more, got 0"),
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, got 4"),
        ({"num_clusters": 1}, "num_clusters must be a whole number of 2 or more, got 1"),
        ({"num_clusters": 2.0}, "num_clusters must be a whole number of 2 or more, got 2.0"),
        ({"num_heads": 0}, "num_heads must be a whole number of 1 or more, got 0"),
        ({"num_heads": True}, "num_heads must be a whole number of 1 or more, got True"),
        ({"kind": "conv"}, r"kind must be one of \['linear', 'mlp'\], got 'conv'"),
        ({"pooled": "no"}, "pooled must be true or false, got 'no'"),
        ({"normalize": 1}, "normalize must be true or false, got 1"),
        ({"temperature": 0}, "temperature must be a positive number, got 0"),
        ({"temperature": math.nan}, "temperature must be a positive number, got nan"),
        ({"temperature": "1"}, "temperature must be a positive number, got '1'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClusterHead(**({"in_channels": 4, "spatial_dims": 2} | arguments))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 4, 4), (2, 4, 4, 4, 4), (2, 4), (4,)])
def test_features_that_do_not_fit_are_refused(shape):
    message = r"features must be \(N, 4, 2 spatial axes\), got"
    with pytest.raises(ValueError, match=message):
        ClusterHead(4, 2)(torch.zeros(shape))
    if shape != (2, 4):
        with pytest.raises(ValueError, match=message):
            ClusterHead(4, 2, pooled=True)(torch.zeros(shape))
