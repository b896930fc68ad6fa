# SPDX-License-Identifier: Apache-2.0
"""The state of all generators of random numbers, as tensors and plain numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device | None = None) -> dict[str, Any]:
    """States of torch (CPU, and ``device`` where that is a GPU), NumPy and Python in this process."""
    _, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, next_gauss = random.getstate()
    state: dict[str, Any] = {
        "cpu": torch.get_rng_state(),
        "numpy": {
            "keys": torch.tensor(np.asarray(keys, dtype=np.int64)),
            "rest": [int(position), int(has_gauss), float(gauss)],
        },
        "python": {"version": version, "numbers": torch.tensor(numbers), "gauss": next_gauss},
    }
    if device is not None and device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device | None = None) -> None:
    """Continue the sequences of ``random_state``."""
    torch.set_rng_state(state["cpu"])
    numpy, python = state["numpy"], state["python"]
    np.random.set_state(("MT19937", numpy["keys"].numpy().astype(np.uint32), *numpy["rest"]))
    random.setstate((python["version"], tuple(python["numbers"].tolist()), python["gauss"]))
    if "cuda" in state and device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
