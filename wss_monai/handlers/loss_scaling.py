# SPDX-License-Identifier: Apache-2.0
"""Gradient scaling in mixed precision, only where the type needs it."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events

__all__ = ["LossScaling"]


class LossScaling:
    """Scale the loss of a MONAI trainer in float16 alone.

    Gradients below float16's least number vanish, so the loss is multiplied by a large number before the backward pass
    (Micikevicius et al., ICLR 2018, section 3.2). bfloat16 has the exponents of float32 and loses none. MONAI's trainer
    scales in both, and asks the device after each backward pass whether a gradient overflowed: the host then waits for
    the device in every iteration. Put it before the handler that restores a checkpoint, which knows the scale.
    """

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Replace the trainer's scaler by one that does nothing, unless the trainer computes in float16."""
        if getattr(engine, "amp", False) and engine.amp_kwargs.get("dtype", torch.float16) != torch.float16:
            engine.scaler = torch.amp.GradScaler(torch.device(engine.state.device).type, enabled=False)
