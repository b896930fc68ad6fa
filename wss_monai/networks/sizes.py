# SPDX-License-Identifier: Apache-2.0
"""What networks share about their axes and channels."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["check_sizes", "linear_mode"]


def check_sizes(spatial_dims: int, fewest_dims: int = 2, **channels: int | Sequence[int]) -> None:
    """Refuse numbers of axes and channels that a network has not.

    Args:
        spatial_dims: number of axes.
        fewest_dims: 1 or 2.
        channels: numbers, or one a level, under the name of their argument.

    Raises:
        ValueError: ``spatial_dims`` is not in ``fewest_dims`` to 3, or one of ``channels`` is below 1; names it.
    """
    if not fewest_dims <= spatial_dims <= 3:
        allowed = "1, 2 or 3" if fewest_dims == 1 else "2 or 3"
        raise ValueError(f"spatial_dims must be {allowed}, got {spatial_dims}")
    for name, given in channels.items():
        levels = {f"{name}[{i}]": n for i, n in enumerate(given)} if isinstance(given, Sequence) else {name: given}
        for level, value in levels.items():
            if value < 1:
                raise ValueError(f"{level} must be 1 or more, got {value}")


def linear_mode(spatial_dims: int) -> str:
    """Give torch's name of linear interpolation along so many axes."""
    return ("linear", "bilinear", "trilinear")[spatial_dims - 1]
