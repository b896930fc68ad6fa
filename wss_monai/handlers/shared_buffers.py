# SPDX-License-Identifier: Apache-2.0
"""The same running statistics in all processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import nn

from wss_monai.io.processes import rank_and_size


class SharedBuffers:
    """At the end of each epoch, give every process the buffers of process 0.

    ``DistributedDataParallel`` does so before each training step. What batch normalisation saw in the last step is each
    process's own, so that after it validation would run on networks that differ. Comes before what validates.

    Args:
        networks: whose buffers are shared.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = list(dict.fromkeys(networks))

    def attach(self, engine: Engine) -> None:
        """Act at the end of each epoch of ``engine``."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Send the buffers of process 0 to all."""
        if rank_and_size()[1] == 1:
            return
        for network in self.networks:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)
