# SPDX-License-Identifier: Apache-2.0
"""The length of a boundary and its gradient, against the same as a graph of tensor operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wss_monai.functional import boundary_length
from wss_monai.functional.boundary_length import length_of

SHAPES = [(2, 3, 9, 7), (3, 2, 1, 6), (1, 2, 4, 5, 6), (2, 1, 1, 5, 1)]


def as_graph(probs, steps):
    """What the module did before it had a backward pass of its own."""
    dimensions = probs.dim() - 2
    padded = F.pad(probs, [1] * (2 * dimensions), mode="replicate")
    square = 0.0
    for axis in range(dimensions):
        gradient = torch.diff(padded, dim=axis + 2)
        for other in range(dimensions):
            if other != axis:
                count = gradient.shape[other + 2] - 1
                gradient = (gradient.narrow(other + 2, 0, count) + gradient.narrow(other + 2, 1, count)) / 2
        square = square + (gradient / steps[:, axis].reshape(-1, 1, *[1] * dimensions)) ** 2
    total = (square + 1e-12).sqrt() - 1e-6
    for _ in range(dimensions):
        total = total.sum(2) - (total.select(2, 0) + total.select(2, -1)) / 2
    return total.clamp(min=0) * steps.prod(-1, keepdim=True)


def value_and_gradient(function, probs, steps):
    probs = probs.clone().requires_grad_()
    value = function(probs, steps)
    (value * torch.arange(1.0, value.numel() + 1).reshape(value.shape)).sum().backward()
    return value.detach(), probs.grad


def make(shape, kind=torch.float32):
    generator = torch.Generator().manual_seed(len(shape))
    probs = torch.randn(shape, generator=generator).softmax(1).to(kind)
    probs[0, 0] = probs[0, 0].round()
    return probs, (torch.rand(shape[0], len(shape) - 2, generator=generator) + 0.5).to(kind)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("near", [1, 2**18])
def test_values_are_those_of_the_graph_and_gradients_too_but_for_rounding(shape, near, monkeypatch):
    monkeypatch.setattr(boundary_length, "NEAR", near)
    given = make(shape)
    value, gradient = value_and_gradient(length_of, *given)
    expected, theirs = value_and_gradient(as_graph, *given)
    assert value.equal(expected)
    torch.testing.assert_close(gradient, theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_by_differences(shape):
    generator = torch.Generator().manual_seed(1)
    probs = torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()
    steps = make(shape, torch.float64)[1]
    assert torch.autograd.gradcheck(lambda p: length_of(p, steps), probs)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_compiled_loss_gets_the_graph(shape, monkeypatch):
    given = make(shape)
    value, gradient = value_and_gradient(length_of, *given)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    traced, theirs = value_and_gradient(length_of, *given)
    assert traced.equal(value)
    torch.testing.assert_close(gradient, theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())


def test_memory_may_lie_in_any_order():
    probs, steps = make((2, 3, 9, 7))
    value, gradient = value_and_gradient(length_of, probs, steps)
    last, other = value_and_gradient(length_of, probs.contiguous(memory_format=torch.channels_last), steps)
    assert last.equal(value) and other.equal(gradient)


def test_nothing_is_kept_but_the_masks():
    probs, steps = make((2, 3, 32, 32))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        length_of(probs.requires_grad_(), steps)
    large = [tensor for tensor in kept if tensor.numel() >= 32 * 32]
    assert [tensor.shape for tensor in large] == [(6, 32, 32)] and large[0].data_ptr() == probs.data_ptr()
