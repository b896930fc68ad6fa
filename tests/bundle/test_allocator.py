# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from wss_monai.bundle import keep_freed_memory

FAULTS = """
import resource, sys, torch
from wss_monai.bundle import keep_freed_memory
torch.set_num_threads(1)
asked = keep_freed_memory() if sys.argv[1] == "keep" else None
def step():
    blocks = [torch.ones(1, 16, 256, 256) for _ in range(12)]
    del blocks
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(asked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")


@needs_glibc
def test_steps_cost_no_new_pages():
    done = subprocess.run([sys.executable, "-c", FAULTS, "keep"], capture_output=True, encoding="utf-8", check=True)
    asked, faults = done.stdout.split()
    assert asked == "True"
    assert int(faults) < 1000  # 20 steps of 48 MiB are 246 000 pages


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "131072")
    assert keep_freed_memory() is False


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda *_: ("musl", "1.2"))
    assert keep_freed_memory() is False
