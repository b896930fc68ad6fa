# SPDX-License-Identifier: Apache-2.0
"""A command in the test's own process says, writes and leaves what it does in a process of its own: nothing else."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from this_process import run_module
from tiny import ROOT, TINY, command_here, command_line, make_dataset

PROGRAM = """
import logging, logging.config, os, random, sys, warnings
import numpy as np, torch
from monai.utils import set_determinism
set_determinism(3)
torch.set_num_threads(2)
os.environ["LEFT_BEHIND"] = "1"
os.chdir("/")
sys.path.append("/left/behind")
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
logging.getLogger("wss_monai").setLevel(logging.ERROR)
logging.getLogger("left_behind").addHandler(logging.StreamHandler())
logging.info("said by the root")
sys.excepthook = lambda kind, error, trace: print("hooked:", error, file=sys.stderr)
warnings.simplefilter("ignore")
END
"""


@pytest.fixture
def program(tmp_path):
    def run(end):
        (tmp_path / "program.py").write_text(PROGRAM.replace("END", end))
        sys.modules.pop("program", None)
        return run_module("program", "word", cwd=tmp_path)

    return run


def state():
    loggers = [logging.root, logging.getLogger("wss_monai")]
    return {
        "argv": sys.argv[:],
        "path": sys.path[:],
        "main": id(sys.modules["__main__"]),
        "hook": id(sys.excepthook),
        "folder": os.getcwd(),
        "variables": dict(os.environ),
        "streams": (id(sys.stdout), id(sys.stderr)),
        "loggers": [(one.level, one.handlers[:], one.disabled) for one in loggers],
        "warnings": (warnings.filters[:], id(warnings.showwarning)),
        "threads": torch.get_num_threads(),
        "exact": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
    }


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("print(sys.argv[1:], __name__)", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit(True)", 1, ""),
        ("sys.exit('a reason')", 1, "a reason\n"),
        ("raise ValueError('wrong')", 1, "hooked: wrong\n"),
    ],
)
def test_codes_and_streams_are_those_of_a_process_and_its_state_goes(program, end, code, said):
    before = state()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = random.random(), float(np.random.rand()), float(torch.rand(1))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    done = program(end)
    assert (done.returncode, done.stderr) == (code, said)
    assert done.stdout == "said by the root\n" + ("['word'] __main__\n" if not code else "")
    assert (random.random(), float(np.random.rand()), float(torch.rand(1))) == drawn
    assert state() == before
    assert logging.getLogger("left_behind").handlers == []


def test_records_of_tests_are_still_caught_afterwards(program, caplog):
    program("logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True, 'root': {'handlers': []}})")
    logging.getLogger("wss_monai").warning("after")
    assert "after" in caplog.text


@pytest.mark.slow
def test_an_error_of_a_bundle_ends_both_alike(tmp_path):
    """Code, standard output and the last lines of the other."""
    config = "bundles/acdc_logbarrier/configs/train.yaml"
    settings = {**TINY, "dataset_dir": make_dataset(tmp_path / "data"), "output_dir": tmp_path / "run"}
    done = [
        run("run", "training", config_file=config, **settings, learning_rte=1) for run in (command_here, command_line)
    ]
    assert done[0].returncode == done[1].returncode == 1
    last = [one.stderr.strip().splitlines()[-1] for one in done]
    assert last[0] == last[1] and last[0].startswith("Error: unknown setting '--learning_rte'")
    assert not any("Traceback" in one.stdout + one.stderr for one in done)
    assert not (tmp_path / "run").exists()


def test_a_verb_is_run_as_well(tmp_path):
    done = run_module("wss_monai", "check", str(tmp_path), cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("wss_monai check: error: ")
