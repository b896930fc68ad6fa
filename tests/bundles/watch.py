# SPDX-License-Identifier: Apache-2.0
"""What a training process sees, for the tests of several processes; as a program, several trainings one after another.

torchrun ... -m watch JOBS.json RESULTS_FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ignite.engine import Events


class Watch:
    """Notes the slices of each epoch (by the sum of their image: no two are the same) and t."""

    def __init__(self, loss):
        self.loss = loss
        self.slices, self.t = {}, {}

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine):
        sums = engine.state.batch["image"].sum((1, 2, 3))
        self.slices.setdefault(engine.state.epoch, []).extend(round(float(value), 3) for value in sums)
        self.t[engine.state.epoch] = self.loss.t

    def multipliers(self):
        """Of each constraint that has some: what it remembers, as lists."""
        penalties = {name: getattr(term, "penalty", None) for name, term in self.loss.terms.items()}
        return {
            name: {key: rows.tolist() for key, rows in penalty.rows.items()}
            for name, penalty in penalties.items()
            if hasattr(penalty, "rows")
        }


def main(jobs, results):
    import torch
    from tiny import workflow

    torch.set_num_threads(1)
    for number, job in enumerate(json.loads(Path(jobs).read_text())):
        flow = workflow("train.yaml", "multi_gpu_train.yaml", folder=job["folder"], out=job["out"], **job["overrides"])
        flow.initialize()
        trainer = flow.parser.get_parsed_content("train#trainer")
        if job["stop_after"]:
            trainer.add_event_handler(Events.EPOCH_COMPLETED(once=job["stop_after"]), lambda engine: engine.terminate())
        watch = Watch(flow.parser.get_parsed_content("loss"))
        watch.attach(trainer)
        flow.run()
        seen = {"epoch": trainer.state.epoch, "slices": watch.slices, "t": watch.t, "multipliers": watch.multipliers()}
        (Path(results) / f"job{number}_process{os.environ['RANK']}.json").write_text(json.dumps(seen))
    flow.finalize()


if __name__ == "__main__":
    main(*sys.argv[1:])
