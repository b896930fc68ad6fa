# SPDX-License-Identifier: Apache-2.0
"""Pictures of activation maps during training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from wss_monai.handlers import CAMSnapshots
from wss_monai.report import cam_sheet
from wss_monai.report.snapshot_sheets import read_sheets
from wss_monai.transforms import CAMScores

SHAPE = (16, 12, 6)


def batch(case: str, label: bool, shape=SHAPE, known: bool = True):
    dense = np.full(shape, 255, np.uint8)
    if label:
        dense[:] = 0
        dense[4:9, 3:8, 2:5] = 1
    image = np.random.RandomState(0).rand(1, 2, *shape).astype(np.float32)
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))[None]
    tags = torch.tensor([[[1, int(s in (0, 1))] for s in range(shape[-1] if len(shape) == 3 else 1)]])
    return {
        "image": MetaTensor(torch.from_numpy(image), affine=affine),
        "label": torch.from_numpy(dense)[None, None],
        "slice_tags": tags if known else torch.full_like(tags, -1),
        "case": [case],
        "patient": [case],
    }


def run(folder, *batches, epochs=2, value=1.0, **settings):
    calls = []

    def infer(engine, of_batch):
        engine.state.batch = of_batch
        raw = torch.full((1, 4, *of_batch["image"].shape[2:]), -0.01 * trainer.state.epoch)
        raw[:, ::2] = -1
        raw[:, 1::2, 4:9, 3:8] = value * trainer.state.epoch
        return {"pred": raw}

    def panel(*arguments, **more):
        calls.append((arguments, more))
        return cam_sheet(*arguments, **more)

    evaluator, trainer = Engine(infer), Engine(lambda *_: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(batches))
    handler = CAMSnapshots(folder, evaluator, CAMScores(["T2", "ADC"]), 1, panel=panel, **settings)
    handler.attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return calls


def test_sheets_of_epochs_with_fixed_slices(tmp_path):
    calls = run(tmp_path, batch("a", True), batch("b", False), batch("c", True), epochs=1)
    assert len(calls) == 2
    sheets = read_sheets(tmp_path)
    (sheet,) = sheets.values()
    assert sheet.cases["a"]["slices"] == [2, 3, 4]  # of the dense label
    assert sheet.cases["b"]["slices"] == [0, 1]  # of the tags
    assert sheet.titles("a") == ["T2", "ADC", "map of T2", "map of ADC", "fused map", "prediction", "reference"]
    assert sheet.titles("b")[-1] == "prediction"
    (image, maps, prediction, spacing, names), more = calls[0]
    assert image.shape == (2, *SHAPE) and maps.shape == (3, *SHAPE) and prediction.sum() == 5 * 5 * 6
    assert spacing == [1, 1, 4] and names == ["T2", "ADC"] and more["affine"].shape == (4, 4)


def test_unknown_tags_images_and_a_diverged_network(tmp_path):
    calls = run(tmp_path / "a", batch("a", False, known=False), epochs=1)
    assert calls[0][1]["slices"] == [0, 2, 4]
    calls = run(tmp_path / "b", batch("a", True, shape=(16, 12, 1)), epochs=1)
    assert calls[0][1]["slices"] == [0]
    calls = run(tmp_path / "c", batch("a", False), epochs=1, value=float("nan"))
    assert bool((calls[0][0][1] == 0).all())
    with pytest.raises(ValueError, match="interval and cases"):
        run(tmp_path, batch("a", True), cases=0)
