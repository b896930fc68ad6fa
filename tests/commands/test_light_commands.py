# SPDX-License-Identifier: Apache-2.0
"""Commands that need neither torch nor MONAI do not import them: they take seconds to load."""

from __future__ import annotations

import subprocess
import sys

VERBS = """
import sys
from wss_monai.__main__ import main

def run(*words):
    assert main(words) == 0, words
    heavy = {"torch", "monai", "SimpleITK", "matplotlib.pyplot"} & set(sys.modules)
    assert not heavy, (words, heavy)

data = sys.argv[1]
run("synthesize", "cardiac", "--out", f"{data}/hearts", "--patients", "3")
run("check", f"{data}/hearts")
for strategy in ("random_blob", "scribble", "box"):
    run("weaken", "--data", f"{data}/hearts", "--strategy", strategy, "--out", f"{data}/{strategy}")
from wss_monai.data import load_cases
assert len(load_cases(f"{data}/hearts").training) == 2 and "torch" not in sys.modules
from wss_monai.data import SliceStore
assert "torch" in sys.modules and "SliceStore" in dir(sys.modules["wss_monai.data"])
"""


def test_generating_checking_and_weakening_do_without_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", VERBS, str(tmp_path)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
