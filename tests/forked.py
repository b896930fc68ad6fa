# SPDX-License-Identifier: Apache-2.0
"""Several processes that talk to each other, as torchrun starts them, without each importing torch and MONAI anew."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from this_process import run_module
from tiny import ROOT
from torch.distributed import TCPStore

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["monai.bundle", "torch.utils.tensorboard", "nibabel", "wss_monai.data", "wss_monai.engines", "wss_monai.handlers"]
)
PATIENCE = 300.0
"""Seconds until processes that wait for each other are ended."""


def act(words: list[str], variables: dict[str, str], path: list[str], file: Path) -> None:
    """What a process does: the command, then a note of how it ended."""
    os.environ.update(variables)
    sys.path[:0] = path
    torch.set_num_threads(1)
    done = run_module(*words, cwd=ROOT)
    file.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))


def in_forked_processes(number: int, folder: Path, *words: object, path: list[str]) -> subprocess.CompletedProcess:
    """``torchrun --nproc_per_node=number -m words``: the processes' outputs one after the other.

    Args:
        number: of processes.
        folder: for their notes.
        words: module and arguments.
        path: folders to import from.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True)  # held here, as torchrun does: a free port may be taken by then
    common = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    common |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RESTART_COUNT": 0, "CUDA_VISIBLE_DEVICES": ""}
    files = [folder / f"process{rank}.ended.json" for rank in range(number)]
    processes = []
    for rank, file in enumerate(files):
        file.unlink(missing_ok=True)
        variables = {key: str(value) for key, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
        processes.append(SERVER.Process(target=act, args=([str(word) for word in words], variables, path, file)))
        processes[-1].start()
    until = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.1, until - time.monotonic()))
    for process in processes:
        process.kill()
        process.join()
    ended = [json.loads(file.read_text()) if file.is_file() else [-9, "", "broken off"] for file in files]
    codes, out, err = zip(*ended, strict=True)
    return subprocess.CompletedProcess(list(words), max(codes, key=abs), "".join(out), "".join(err))
