# SPDX-License-Identifier: Apache-2.0
"""The next batch is made by a thread while this one is in use, where a GPU computes; the batches are the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from wss_monai.data import BatchLoader, PairedLoader, PatchStore, SliceStore, VolumeBatchSampler
from wss_monai.data.loading.ahead import ahead

WAIT = 30.0
"""Seconds after which a thread is not coming."""


def cases(count: int = 4, depth: int = 5) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(count)
    return [
        {
            "case": str(number),
            "image": torch.rand(1, 8, 8, depth, generator=generator),
            "weak_label": torch.randint(0, 3, (1, 8, 8, depth), generator=generator, dtype=torch.uint8),
            "bounds_ml": torch.tensor([1.0, 9.0]).repeat(3, 1, 1),
        }
        for number in range(count)
    ]


def slices(device: str | None) -> BatchLoader:
    plain = [{key: value for key, value in case.items() if key != "bounds_ml"} for case in cases()]
    return BatchLoader(SliceStore(plain), 3, seed=5, device=device)


def volumes(device: str | None) -> BatchLoader:
    return BatchLoader(SliceStore(cases()), seed=5, volume_sampler=VolumeBatchSampler(3), device=device)


def patches(device: str | None) -> BatchLoader:
    return BatchLoader(PatchStore(cases(), [4, 4, 4], patches_per_volume=3), 5, seed=5, device=device)


def pairs(device: str | None) -> PairedLoader:
    first, second = PatchStore(cases(3), [4, 4, 4]), PatchStore(cases(4), [4, 4, 4])
    return PairedLoader(first, second, labelled_batch=2, unlabelled_batch=3, iterations=4, seed=5, device=device)


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("next-batch")]


@pytest.mark.parametrize("make", [slices, volumes, patches, pairs])
def test_the_batches_are_the_same(make):
    here, there = make(None), make("cuda:0")
    for epoch in (1, 2, 7):
        here.set_epoch(epoch)
        there.set_epoch(epoch)
        wanted, found = list(here), list(there)
        assert len(wanted) == len(found) == len(here) > 1
        for a, b in zip(wanted, found, strict=True):
            assert a.keys() == b.keys()
            assert all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)
    assert not helpers()


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_on_a_cpu_nothing_changes(device):
    batches = iter([{"image": torch.zeros(1)}])
    assert ahead(batches, device) is batches
    assert all(batch["image"].shape == (3, 1, 8, 8) for batch in list(slices(device))[:6])
    assert not helpers()


def test_one_batch_is_made_while_another_is_in_use():
    """By a thread, and no more than one: memory for two batches is enough."""
    made: list[tuple[int, str]] = []
    done = [threading.Event() for _ in range(5)]

    def batches() -> Iterator[dict[str, Tensor]]:
        for number in range(4):
            made.append((number, threading.current_thread().name))
            done[number].set()
            yield {"number": torch.tensor([number])}
        done[4].set()

    for number, batch in enumerate(ahead(batches(), "cuda")):
        assert batch["number"].tolist() == [number]
        assert done[number + 1].wait(WAIT)  # this loop does not ask for it
        assert [n for n, _ in made] == list(range(min(number + 2, 4)))
    assert len(made) == 4 and all(name.startswith("next-batch") for _, name in made)


def test_what_fails_in_the_thread_is_raised_in_its_place():
    def batches() -> Iterator[dict[str, Tensor]]:
        yield {"image": torch.zeros(1)}
        raise ValueError("case 'p7': broken")

    found = ahead(batches(), "cuda:0")
    assert next(found)["image"].shape == (1,)
    with pytest.raises(ValueError, match="case 'p7': broken"):
        next(found)
    assert not helpers()


def test_who_stops_early_leaves_no_thread_behind():
    found = iter(slices("cuda:0"))
    next(found)
    assert len(helpers()) == 1
    found.close()
    assert not helpers()


def test_what_lies_on_the_host_is_pinned(monkeypatch):
    """For the GPU that is asked for; numbers are read on the host and stay."""
    pinned, chosen = [], []

    def pin(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        pinned.append(copy)
        return copy

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(device))
    monkeypatch.setattr(Tensor, "pin_memory", pin)
    wanted = list(slices(None))
    assert not pinned
    for a, b in zip(wanted, slices("cuda:1"), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)
        kept = {key for key, value in b.items() if not any(value is copy for copy in pinned)}
        assert kept == {"draw"}
    assert chosen == [torch.device("cuda:1")]


@pytest.mark.gpu
def test_on_a_gpu_the_memory_is_pinned():
    if not torch.cuda.is_available():
        pytest.skip("pinned memory needs a GPU")
    for a, b in zip(slices(None), slices("cuda:0"), strict=True):
        assert b["image"].is_pinned() and b["weak_label"].is_pinned()
        assert all(torch.equal(a[key], b[key].to("cuda:0", non_blocking=True).cpu()) for key in a)
