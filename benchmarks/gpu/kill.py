# SPDX-License-Identifier: Apache-2.0
"""A run that is killed twice (SIGKILL) and resumed, against two that were left alone.

The processes are forked after the imports and before anything touches the device. A bit-for-bit comparison of the two
that were left alone says whether the device itself repeats a run.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import ROOT, Rows, part_parser, run, torch_device, workflow
from ignite.engine import Events
from phantoms import phantom

sys.path.insert(0, str(ROOT / "benchmarks"))
import kill_resume
import monai.bundle
import torch.utils.tensorboard

import wss_monai.data
import wss_monai.engines
import wss_monai.handlers

IMPORTED = (monai.bundle, torch.utils.tensorboard, wss_monai.data, wss_monai.engines, wss_monai.handlers)
"""Once for all processes."""
EPOCHS = 4
KILLS = ((2, 2), (4, 1))
"""(epoch, iteration in it) after which the process dies."""


def train(settings: dict[str, Any], die: tuple[int, int] | None = None) -> None:
    """Train, and die at that place."""
    flow = workflow("acdc_logbarrier", ["train.yaml"], settings)
    if die is not None:
        trainer = flow.parser.get_parsed_content("train#trainer")

        def kill(engine: Any) -> None:
            state = engine.state
            if (state.epoch, (state.iteration - 1) % state.epoch_length + 1) == die:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.add_event_handler(Events.ITERATION_COMPLETED, kill)
    run(flow)


def in_a_process(act: Callable[[], None]) -> int:
    """Run a function in a forked process; its exit code, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    options = part_parser(__doc__).parse_args()
    rows, base = Rows(options.rows), options.work / "kill"
    common = {**kill_resume.SMALL, "dataset_dir": str(phantom("heart", options.phantoms)), "mode": "logbarrier"}
    epochs = 2 if options.smoke else EPOCHS
    common |= {"train#trainer#max_epochs": epochs, "device": torch_device(options.device), "validation": 1}
    kills = KILLS[:1] if options.smoke else KILLS

    def settings(name: str, **more: Any) -> dict[str, Any]:
        return {**common, "output_dir": str(base / name), **more}

    def left_alone(name: str) -> None:
        if code := in_a_process(lambda: train(settings(name))):
            raise RuntimeError(f"the run ended with {code}.")

    def alike(one: Path, other: Path) -> list[str]:
        return [f"{name}: {wrong[0]}" for name, wrong in kill_resume.compare(one, other, epochs).items() if wrong]

    repeats: list[str] = []
    left_alone("whole")
    if not options.smoke:
        with rows.check("kill and resume", "two runs left alone") as detail:
            left_alone("again")
            repeats = alike(base / "whole", base / "again")
            detail.append("the same bit for bit" if not repeats else f"the device does not repeat a run: {repeats[0]}")
    with rows.check("kill and resume", f"killed {len(kills)} times") as detail:
        for number, place in enumerate(kills):
            code = in_a_process(lambda n=number, p=place: train(settings("broken", resume=n > 0), p))
            if code != -signal.SIGKILL:
                raise RuntimeError(f"the run that was to die at epoch, iteration {place} ended with {code}.")
        if code := in_a_process(lambda: train(settings("broken", resume=True))):
            raise RuntimeError(f"the resumed run ended with {code}.")
        wrong = alike(base / "whole", base / "broken")
        if wrong and not repeats:
            raise RuntimeError(f"not the same as the run left alone: {'; '.join(wrong)[:300]}")
        detail.append(
            "ends where the run left alone ends" + (", bit for bit" if not wrong else ", as far as it repeats")
        )


if __name__ == "__main__":
    main()
