# SPDX-License-Identifier: Apache-2.0
"""One training step on the device in float32 and in mixed precision, against the same step on the CPU in float64.

The same batch, augmented by the same draw (without noise, which each device draws on its own), the same weights, one
step of gradient descent. Differences are norms over all parameters, relative to the norm of what they differ from.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from common import Rows, part_parser, torch_device, workflow
from phantoms import phantom
from torch import Tensor

MODES = ("full", "partial", "quadratic", "logbarrier")
SMALL = {
    "pixdim": [6.0, 6.0, -1.0],
    "crop": [64, 64, -1],
    "network_def#features": [4, 4, 4, 4, 4, 4],
}
RATE = 0.01
EXACT, ROUGH = 2e-3, 0.75
"""Largest relative difference of the gradient, in float32 and in mixed precision."""


def step(
    flow: Any, network: torch.nn.Module, batch: Mapping[str, Tensor], device: str, kind: torch.dtype, mixed: bool
) -> dict[str, Tensor]:
    """Loss, gradient and weights after a step, in float64 on the CPU."""
    loss = copy.deepcopy(flow.parser.get_parsed_content("loss"))
    prepare = copy.copy(flow.parser.get_parsed_content("train#trainer").prepare_batch)
    prepare.channels_last = mixed
    network = copy.deepcopy(network).to(device, kind).train()
    if mixed:
        network = network.to(memory_format=torch.channels_last)
    image, target = prepare(batch, torch.device(device))
    image = image.to(kind)
    with torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=mixed):
        value = loss(network(image), target)
    value.backward()
    parameters = list(network.parameters())
    gradient = torch.cat([p.grad.flatten().double().cpu() for p in parameters])
    torch.optim.SGD(parameters, RATE).step()
    weights = torch.cat([p.detach().flatten().double().cpu() for p in parameters])
    return {"loss": value.detach().double().cpu(), "gradient": gradient, "weights": weights}


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str) -> float:
    """Norm of the difference, relative to that of the second."""
    return float((one[name] - other[name]).norm() / other[name].norm())


def main() -> None:
    options = part_parser(__doc__).parse_args()
    rows, device = Rows(options.rows), options.device
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for mode in MODES[-1:] if options.smoke else MODES:
        with rows.check("one step", f"acdc_logbarrier, {mode}") as detail:
            settings = {"dataset_dir": str(phantom("heart", options.phantoms)), "mode": mode, "validation": 0}
            settings |= {"output_dir": str(options.work / "step"), "device": torch_device("cpu")}
            settings |= {"train#augment#noise": 0.0, **(SMALL if options.smoke else {})}
            flow = workflow("acdc_logbarrier", ["train.yaml"], settings)
            network = flow.parser.get_parsed_content("network_def")
            batch = next(iter(flow.parser.get_parsed_content("train#dataloader")))
            exact = step(flow, network, batch, "cpu", torch.float64, False)
            cpu = step(flow, network, batch, "cpu", torch.float32, False)
            single = step(flow, network, batch, device, torch.float32, False)
            mixed = step(flow, network, batch, device, torch.float32, True)
            for label, found, most in (
                ("CPU float32", cpu, EXACT),
                (f"{device} float32", single, EXACT),
                (f"{device} bfloat16", mixed, ROUGH),
            ):
                loss, gradient = difference(found, exact, "loss"), difference(found, exact, "gradient")
                weights = difference(found, exact, "weights")
                detail.append(f"{label}: loss {loss:.1e}, gradient {gradient:.1e}, weights {weights:.1e}")
                if not gradient <= most or not loss <= most:
                    raise ValueError(f"{'; '.join(detail)}; at most {most:g} was expected.")


if __name__ == "__main__":
    main()
