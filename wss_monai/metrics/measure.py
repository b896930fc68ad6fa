# SPDX-License-Identifier: Apache-2.0
"""What descriptors measure on a hard prediction, in the units of its bounds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wss_monai.functional.descriptors import Descriptor, completed


def measure_prediction(
    prediction: Tensor,
    bounds: Tensor,
    descriptor: Descriptor,
    spacing: Sequence[float],
    slice_axis: int | None = None,
    region: Tensor | None = None,
) -> tuple[Tensor, Tensor, list[int | str]]:
    """Measure a class-index map against bounds on its slices or on the whole of it.

    Args:
        prediction: (*spatial) class indices.
        bounds: (S, K, M, 2) for the slices along ``slice_axis``, or (K, M, 2) for the whole map.
        descriptor: what is measured.
        spacing: voxel size in mm along each axis.
        slice_axis: needed for bounds on slices.
        region: (1, *spatial) or (K, *spatial), where the descriptor measures, e.g. boxes; None: everywhere.

    Returns:
        Measures (U, K, M), bounds (U, K, M, 2) and the names of the U units: slice numbers, or "" for the whole map. A
        measure of steps between slices has a unit a step, which has the number of its first slice.
        A place of a class that the prediction does not show is not bounded, and neither is a strip that a box does not
        have.

    Raises:
        ValueError: bounds that do not fit the map.
    """
    steps = torch.tensor([float(s) for s in spacing])
    units: list[int | str] = [""]
    if bounds.dim() == 3:
        maps, steps, limits = prediction.unsqueeze(0), steps.unsqueeze(0), bounds.unsqueeze(0)
        region = None if region is None else region.unsqueeze(0)
    elif slice_axis is None or bounds.shape[0] != prediction.shape[slice_axis]:
        raise ValueError(f"bounds {tuple(bounds.shape)} do not fit {tuple(prediction.shape)} along axis {slice_axis}.")
    else:
        maps, limits = prediction.movedim(slice_axis, 0), bounds
        region = None if region is None else region.movedim(slice_axis + 1, 0)
        kept = [axis for axis in range(prediction.dim()) if axis != slice_axis]
        steps, units = steps[kept].repeat(len(maps), 1), [*range(len(maps))]
    one_hot = torch.stack([maps == k for k in range(limits.shape[1])], 1).float()
    region = None if region is None else region.to(one_hot.device)
    measure = descriptor(one_hot, spacing=steps.to(one_hot.device), region=region)
    free = torch.tensor([-torch.inf, torch.inf], device=limits.device)
    if completed(descriptor).one_bound:
        limits = torch.where(measure.isnan().unsqueeze(-1).to(limits.device), free, limits)
    if completed(descriptor).is_place:
        nothing = one_hot.flatten(2).sum(-1) == 0
        for other in completed(descriptor).others():
            nothing = nothing | nothing[:, other, None]
        limits = torch.where(nothing[..., None, None].to(limits.device), free, limits)
    if completed(descriptor).steps_along() is not None and units == [""]:
        measure, limits = (part[0].transpose(0, 1).unsqueeze(2) for part in (measure, limits))
        units = [*range(len(measure))]
    return measure.cpu(), limits.cpu(), units
