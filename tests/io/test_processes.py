# SPDX-License-Identifier: Apache-2.0
"""One process or several: who writes, and what all of them found."""

from __future__ import annotations

import pytest
import torch

from wss_monai.io.processes import first_process, of_all_processes, process_number


def pretend(monkeypatch, rank: int, count: int) -> None:
    def gather(parts, found):
        parts[:] = [f"{found} of {number}" for number in range(count)]

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: count)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)


def test_a_process_alone_is_the_first_and_asks_nobody():
    found = object()
    assert (process_number(), first_process()) == (0, True)
    assert of_all_processes(found) == [found]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_of_several_only_process_0_is_the_first(monkeypatch, rank):
    pretend(monkeypatch, rank, 3)
    assert (process_number(), first_process()) == (rank, rank == 0)
    assert of_all_processes("part") == ["part of 0", "part of 1", "part of 2"]
