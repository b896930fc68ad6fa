# SPDX-License-Identifier: Apache-2.0
"""What constraints across cases and across slices add, for `benchmarks/run.py anatomy_across`.

Each stands beside the same batches without its term. ``<mode>_paired_batches``: four slices of each of the two cases of
a patient, as many batches an epoch as with shuffled slices. ``<mode>_volume_batches``: all slices of a volume, as many
slices an epoch, in a fifth fewer batches.
"""

from __future__ import annotations

from collections.abc import Mapping

Settings = dict[str, object]
Arms = dict[str, tuple[tuple[str, ...], Settings]]

SAMPLER = "wss_monai.data.VolumeBatchSampler"
PAIRED: Settings = {
    "train#volume_sampler": {"_target_": SAMPLER, "pairs": "patient", "slices_per_volume": 4},
    "epoch_iterations": "$round(1.22 * len(@data.training))",
}
"""9.8 slices a volume, 8 a batch."""
WHOLE: Settings = {"train#volume_sampler": {"_target_": SAMPLER}}
EQUAL, SMOOTH = ("cpu.yaml", "equal_volume.yaml"), ("cpu.yaml", "smooth_areas.yaml")


def across_arms(modes: Mapping[str, Settings]) -> Arms:
    """Arms ``<mode>_<change>`` for settings by mode."""
    out: Arms = {}
    for mode, settings in modes.items():
        out[f"{mode}_paired_batches"] = (("cpu.yaml",), {**settings, **PAIRED})
        out[f"{mode}_equal_volume"] = (EQUAL, {**settings, **PAIRED})
        out[f"{mode}_volume_batches"] = (("cpu.yaml",), {**settings, **WHOLE})
        out[f"{mode}_smooth"] = (SMOOTH, {**settings, **WHOLE})
    return out


def tried_across(modes: Mapping[str, Settings]) -> Arms:
    """Shuffled slices; a tolerance that is false for half of the patients; ten times the weight of each term."""
    out: Arms = {}
    for mode, settings in modes.items():
        out[mode] = (("cpu.yaml",), dict(settings))
        weight = 0.03 if mode == "logbarrier" else 3.0
        tight, strong = {"equal_volume": {"Myo": 0.15}}, {f"equal_volume_weight#{mode}": weight}
        out[f"{mode}_equal_volume_15"] = (EQUAL, {**settings, **PAIRED, **tight})
        out[f"{mode}_equal_volume_x10"] = (EQUAL, {**settings, **PAIRED, **strong})
        out[f"{mode}_smooth_x10"] = (SMOOTH, {**settings, **WHOLE, f"smooth_areas_weight#{mode}": weight})
    return out
