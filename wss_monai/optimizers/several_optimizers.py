# SPDX-License-Identifier: Apache-2.0
"""Several optimisers that step together and look like one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["SeveralOptimizers"]


class SeveralOptimizers(torch.optim.Optimizer):
    """One optimiser for each network of a joint model, for a trainer that knows one optimiser.

    Where the networks share nothing and each loss term's gradient reaches one network only, this steps exactly as one
    optimiser over all parameters does; it lets the networks have optimisers of different kinds or settings. Schedulers
    see the parameter groups of all.

    Args:
        optimizers: at least one; no parameter in two of them.

    Raises:
        ValueError: no optimiser, or a parameter in two of them.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        if not optimizers:
            raise ValueError("optimizers is empty: give one for each network.")
        self.optimizers = list(optimizers)
        super().__init__([group for optimizer in self.optimizers for group in optimizer.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step all of them; the closure, where given, is called once, before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of all, in order, and their parameter groups, as any optimiser shows them."""
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"optimizers": states, "param_groups": [group for state in states for group in state["param_groups"]]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave.

        Raises:
            ValueError: a state of another number of optimisers.
        """
        states = state_dict["optimizers"]
        if len(states) != len(self.optimizers):
            raise ValueError(f"the state is of {len(states)} optimisers, and there are {len(self.optimizers)}.")
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
