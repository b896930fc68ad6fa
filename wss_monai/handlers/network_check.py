# SPDX-License-Identifier: Apache-2.0
"""Whether a network takes the images that training has, asked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["check_network"]

MULTIPLES = (2, 4, 8, 16, 32)
"""Sides that networks ask for: multiples of the product of their strides."""


def check_network(network: nn.Module, image: Tensor, num_classes: int, window: Sequence[int] = ()) -> None:
    """Refuse a network that cannot take an image, or whose output is not one score a class and voxel.

    The network predicts one sample of zeros in evaluation mode; its state does not change.

    Args:
        network: on any device.
        image: a sample as the network sees it, (1, C, *spatial).
        num_classes: K.
        window: in which images are predicted; -1: whole, so that the network must take any length along that axis.

    Raises:
        ValueError: it fails, or its output has another shape than (1, K, *spatial); says which sides it would take.
    """
    shape = tuple(image.shape[1:])
    wanted = (1, num_classes, *shape[1:])
    got, reason = _output(network, shape)
    if got == wanted:
        _check_window(network, shape, num_classes, window)
        return
    said = reason or f"it gives {got}, where {wanted} is needed"
    fitting = next((m for m in MULTIPLES if _fits(network, shape, num_classes, m)), None)
    if fitting:
        todo = f"choose sides that are multiples of {fitting} (--crop, in 3D --patch_size, and --window)"
    else:
        todo = "see --network_def: its in_channels are the modalities, its out_channels the classes"
    raise ValueError(f"the network cannot take images of shape {shape} (channels, then voxels): {said}; {todo}.")


def _check_window(network: nn.Module, shape: tuple[int, ...], num_classes: int, window: Sequence[int]) -> None:
    """Refuse windows that the network does not take; along a whole axis it must take one voxel more as well."""
    if len(window) != len(shape) - 1:
        return
    sides = tuple(length if length > 0 else side + 1 for side, length in zip(shape[1:], window, strict=True))
    if sides == shape[1:] or _output(network, (shape[0], *sides))[0] == (1, num_classes, *sides):
        return
    fitting = next((m for m in MULTIPLES if _fits(network, (shape[0], *sides), num_classes, m)), MULTIPLES[-1])
    example = [-(-side // fitting) * fitting for side in shape[1:]]
    whole = ", as whole ones are" if -1 in window else ""
    raise ValueError(
        f"the network cannot take images of {'any size' if whole else f'{list(sides)} voxels'}{whole}: setting "
        f"'--window' must name sides that are multiples of {fitting}, such as {example}; got {list(window)}."
    )


def _fits(network: nn.Module, shape: tuple[int, ...], num_classes: int, multiple: int) -> bool:
    sides = tuple(-(-side // multiple) * multiple for side in shape[1:])
    return sides != shape[1:] and _output(network, (shape[0], *sides))[0] == (1, num_classes, *sides)


@torch.no_grad()
def _output(network: nn.Module, shape: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """Shape of the output for one image of zeros, or in one line why there is none."""
    weight = next(network.parameters(), torch.zeros(()))
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        found = network(torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype))
    except Exception as error:  # whatever a network of the user's raises
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return (), lines[0]
    finally:
        for module, training in modes:
            module.training = training
    return tuple(found.shape) if isinstance(found, Tensor) else (), ""
