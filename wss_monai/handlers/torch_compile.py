# SPDX-License-Identifier: Apache-2.0
"""``torch.compile`` for what a trainer does in each iteration, and for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

__all__ = ["TorchCompile"]


class TorchCompile:
    """Let a MONAI trainer call its network and its loss compiled.

    Only the trainer sees the compiled ones: checkpoints hold the network's own names and load without it, a run may be
    resumed with or without it, and validation, whose windows have many shapes, does not compile anew. It is compiled in
    the first iteration, and once more where the last batch of an epoch is smaller. Losses on partial labels and
    constraints are one graph each, and a new t of the log-barrier compiles nothing. Results differ from those of a run
    without it by rounding.

    Args:
        settings: True, or the arguments of ``torch.compile``, such as ``{"mode": "reduce-overhead"}``, which replays a
            step on a GPU as one graph.

    Raises:
        ValueError: settings of another kind.
    """

    def __init__(self, settings: bool | Mapping[str, Any] = True) -> None:
        if settings is not True and not isinstance(settings, Mapping):
            raise ValueError(f"compile must be true, false or the arguments of torch.compile, got {settings!r}.")
        self.settings = {} if settings is True else dict(settings)

    def attach(self, engine: Engine) -> None:
        """Act when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Any) -> None:
        """Replace network and loss of a trainer by compiled ones of the same weights, once."""
        for name in ("network", "loss_function"):
            part = getattr(engine, name)
            if isinstance(part, torch.nn.Module) and not hasattr(part, "_orig_mod"):
                setattr(engine, name, torch.compile(part, **self.settings))
