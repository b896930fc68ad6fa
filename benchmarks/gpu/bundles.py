# SPDX-License-Identifier: Apache-2.0
"""Each bundle trains two epochs in mixed precision and is evaluated, with its own network and sizes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import torch
from common import Rows, part_parser, peak_mb, run, torch_device, workflow
from monai.engines.utils import IterationEvents
from phantoms import KINDS, phantom

CUT = {"pixdim": [2.0, 2.0, -1.0], "crop": [32, 32, -1], "window": [32, 32]}
UNET = {"network_def#features": [4, 4, 4, 4, 4, 4]}
FEATURES = {"network_def#features": [4, 4, 4, 4, 8, 4], "num_clusters": 3, "num_heads": 2}
CAM = {"pixdim": [6.0, 6.0, -1.0], "crop": [24, 24, -1], "window": [24, 24], "network_def#channels": [4, 8]}
SMALL: dict[str, dict[str, Any]] = {
    "acdc_logbarrier": {**CUT, **UNET, "pixdim": [6.0, 6.0, -1.0]},
    "acdc_size": {**CUT, "pixdim": [6.0, 6.0, -1.0], "network_def#channels": [4, 8, 8]},
    "acdc_sec": {**CUT, **UNET, "pixdim": [6.0, 6.0, -1.0]},
    "acdc_mutual_information": {**CUT, **FEATURES, "pixdim": [6.0, 6.0, -1.0]},
    "promise12_logbarrier": {**CUT, **UNET, "pixdim": [4.0, 4.0, -1.0]},
    "hippocampus_logbarrier": {
        "network_def#channels": [4, 4, 4],
        "network_def#strides": [2, 2],
        "pixdim": [2.0, 2.0, 2.0],
        "patch_size": [20, 28, 24],
    },
    "prostate_cross_modality": CAM,
    "brats_cross_modality": CAM,
    "toy_size": {"window": [64, 64]},
    "toy_logbarrier": {"window": [64, 64]},
}
"""What makes a bundle small enough for a smoke test on a CPU."""
OWN: dict[str, dict[str, Any]] = {
    "acdc_mutual_information": {"epoch_iterations": 20, "labelled": 1},
    "promise12_logbarrier": {"fold": 0},
    "toy_size": {"validation": 2},
    "toy_logbarrier": {"validation": 2},
}
"""What the small data sets ask for."""
QUICK = ("acdc_logbarrier", "acdc_mutual_information", "hippocampus_logbarrier")
"""For a smoke test."""


def try_bundle(bundle: str, data: Path, out: Path, device: str, smoke: bool) -> list[str]:
    """Train, and evaluate unless it is a smoke test; what was seen.

    Raises:
        ValueError: a loss or a weight that is not finite, a network that did not run in the wanted type, no score.
    """
    settings = {"dataset_dir": str(data), "output_dir": str(out), "device": torch_device(device), "validation": 1}
    settings |= {"train#trainer#max_epochs": 2, "val_interval": 1, **OWN.get(bundle, {})}
    if smoke:
        settings |= SMALL[bundle] | ({"epoch_iterations": 2} if bundle == "acdc_mutual_information" else {})
    if bundle.startswith("toy"):
        settings |= {"validation": 0}
    peak_mb(device, reset=True)
    flow = workflow(bundle, ["train.yaml"], settings)
    trainer = flow.parser.get_parsed_content("train#trainer")
    types: set[torch.dtype] = set()

    def note(engine: Any) -> None:
        output = engine.state.output["pred"]
        types.update(t.dtype for t in (output.values() if isinstance(output, dict) else [output]) if torch.is_tensor(t))

    trainer.add_event_handler(IterationEvents.FORWARD_COMPLETED, note)
    run(flow)
    wanted = flow.parser.get_parsed_content("amp_dtype") if device.startswith("cuda") else torch.float32
    if wanted not in types:
        raise ValueError(f"the network's outputs are {types}, not {wanted}.")
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = {name: float(row[name]) for row in rows for name in row if name.startswith("loss")}
    if len(rows) != 2 or not all(math.isfinite(value) for value in losses.values()):
        raise ValueError(f"{len(rows)} epochs, losses {losses}.")
    weights = torch.load(out / "model.pt", weights_only=True, map_location="cpu")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError("weights are not finite.")
    names = "/".join(sorted(str(kind).removeprefix("torch.") for kind in types))
    seen = [f"outputs {names}", f"loss {float(rows[-1]['loss']):.3g}"]
    if not smoke:
        seen.append(f"{peak_mb(device) or 0:.0f} MB")
        run(workflow(bundle, ["train.yaml", "evaluate.yaml"], settings))
        dice = json.loads((out / "metrics_summary.json").read_text())["dice"]["mean"]
        if not math.isfinite(dice):
            raise ValueError(f"Dice {dice}.")
    return seen


def main() -> None:
    options = part_parser(__doc__).parse_args()
    rows = Rows(options.rows)
    for bundle in QUICK if options.smoke else KINDS:
        with rows.check("two epochs", bundle) as detail:
            data = phantom(KINDS[bundle], options.phantoms)
            detail += try_bundle(bundle, data, options.work / "bundles" / bundle, options.device, options.smoke)


if __name__ == "__main__":
    main()
