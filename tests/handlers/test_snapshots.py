# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from PIL import Image

from wss_monai.handlers import Snapshots
from wss_monai.handlers.snapshots import middle_and_apex
from wss_monai.report import case_panel
from wss_monai.report.palette import class_colour
from wss_monai.report.snapshot_sheets import read_sheets

NAMES = ["background", "RV", "LV"]
SHAPE = (20, 16, 5)


def volume(shape=SHAPE):
    """A class 2 block that becomes smaller from slice 0 to the last."""
    index = np.zeros(shape, np.uint8)
    for number in range(shape[2]):
        index[4 : 14 - number, 4:10, number] = 2
    return index


def item(case, label=True, shape=SHAPE, patient=None):
    index = volume(shape)
    weak = np.full(shape, 255, np.uint8)
    weak[5:8, 5:8] = index[5:8, 5:8]
    affine = torch.diag(torch.tensor([1.0, 2.0, 8.0, 1.0]))
    maps = {"weak_label": weak, "label": index if label else np.full(shape, 255, np.uint8)}
    tensors = {key: MetaTensor(torch.from_numpy(value)[None, None], affine=affine[None]) for key, value in maps.items()}
    image = MetaTensor(torch.from_numpy(index).float()[None, None], affine=affine[None])
    return {"image": image, **tensors, "case": [case], "patient": [patient or case]}


def run(folder, items, epochs=2, interval=1, panel=case_panel, validated=None, first=1, **settings):
    """A trainer that validates in the given epochs; the prediction is right in class 2, and class 1 elsewhere."""
    calls = []

    def infer(engine, batch):
        engine.state.batch = batch
        index = torch.as_tensor(np.asarray(batch["image"]))[:, 0]
        return {"pred": torch.stack([index * 0, (index == 0).float(), index * 9], 1)}

    evaluator = Engine(infer)
    trainer = Engine(lambda *_: None)
    trainer.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", first - 1))

    def validate(engine):
        if validated is None or engine.state.epoch in validated:
            evaluator.state.epoch = engine.state.epoch - 1
            evaluator.state.max_epochs = engine.state.epoch
            evaluator.state.iteration = 0
            evaluator.run(items, max_epochs=engine.state.epoch)

    def counted(*arguments, **keywords):
        calls.append((arguments, keywords))
        return panel(*arguments, **keywords)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, validate)
    Snapshots(folder, evaluator, NAMES, interval, panel=counted, **settings).attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return calls


def pictures(folder):
    return sorted(path.name for path in (folder / "snapshots").glob("*"))


def images(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard" / "snapshots"), size_guidance={"images": 0})
    events.Reload()
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def test_pictures_for_eyes_and_for_tensorboard(tmp_path):
    run(tmp_path, [item("a"), item("b"), item("c")], epochs=4, interval=2)
    assert pictures(tmp_path) == ["epoch_0002.png", "epoch_0004.png"]
    assert images(tmp_path) == {"a": [2, 4], "b": [2, 4]}
    assert list(tmp_path.glob("tensorboard/events*")) == []  # the scalars' file stays the newest of its folder


def test_picture_shows_every_map_in_its_colours_and_is_small(tmp_path):
    run(tmp_path, [item("a")], epochs=1)
    path = tmp_path / "snapshots" / "epoch_0001.png"
    assert path.stat().st_size < 200_000
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    quarter = picture.shape[1] // 4
    for column, classes in enumerate([(), (2,), (1, 2), (2,)]):
        part = picture[:, column * quarter : (column + 1) * quarter]
        for k in (1, 2):
            near = (abs(part - class_colour(k)).sum(-1) < 40).any()
            assert near == (k in classes), (column, k)


def test_draws_the_evaluators_own_output_of_the_first_case_of_each_patient(tmp_path):
    items = [item("a1", patient="a"), item("a2", patient="a"), item("b", label=False), item("c")]
    calls = run(tmp_path, items, epochs=2)
    assert len(calls) == 4
    (image, maps, spacing, names), settings = calls[0]
    assert list(maps) == ["weak label", "prediction", "reference"]
    np.testing.assert_array_equal(image, volume())
    np.testing.assert_array_equal(maps["prediction"], np.where(volume() == 2, 2, 1))
    assert (spacing, names) == ([1.0, 2.0, 8.0], NAMES)
    assert settings["slices"] == [2, 3] and settings["slice_axis"] == 2
    assert settings["around"] == ["weak label", "reference"]  # not the prediction: the same part in all epochs
    assert list(calls[1][0][1]) == ["weak label", "prediction"]
    assert [list(call[0][1]) for call in calls[2:]] == [list(call[0][1]) for call in calls[:2]]


def test_epochs_without_snapshot_cost_nothing(tmp_path):
    assert run(tmp_path, [item("a")], epochs=3, interval=4) == []
    assert run(tmp_path, [item("a")], epochs=3, validated=()) == []
    assert list(tmp_path.iterdir()) == []


def test_one_slice_and_two_dimensions(tmp_path):
    run(tmp_path / "one", [item("a", shape=(20, 16, 1))], epochs=1)
    plane = item("b", shape=(20, 16, 1))
    flat = {key: value.as_tensor()[..., 0] for key, value in plane.items() if isinstance(value, MetaTensor)}
    run(tmp_path / "two", [flat], epochs=1)
    assert pictures(tmp_path / "one") == pictures(tmp_path / "two") == ["epoch_0001.png"]


def test_new_run_removes_the_pictures_of_epochs_to_come(tmp_path):
    run(tmp_path, [item("a")], epochs=3)
    (tmp_path / "snapshots" / "epoch_of_mine.png").write_bytes(b"")
    run(tmp_path, [item("a")], epochs=3, first=3, interval=5)
    assert pictures(tmp_path) == ["epoch_0001.png", "epoch_0002.png", "epoch_of_mine.png"]


def test_only_process_0_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert run(tmp_path, [item("a")]) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("foreground", "slices"),
    [
        ([0, 9, 9, 9, 5, 4, 1, 0], [4, 5]),
        ([0, 1, 4, 5, 9, 9, 9, 0], [3, 2]),
        ([0, 3, 0], [1]),
        ([0] * 5, [2, 3]),
    ],
)
def test_middle_and_smaller_end_of_what_is_labelled(foreground, slices):
    index = np.zeros((10, 2, len(foreground)), np.uint8)
    for number, count in enumerate(foreground):
        index[:count, 0, number] = 1
        index[:, 1, number] = 255
    assert middle_and_apex([index]) == slices
    assert middle_and_apex([np.full_like(index, 255), index]) == slices
    assert middle_and_apex([np.moveaxis(index, 2, 0)], slice_axis=0) == slices


@pytest.mark.parametrize("wrong", [{"interval": 0}, {"cases": 0}])
def test_numbers_below_1_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        Snapshots(tmp_path, Engine(lambda *_: None), NAMES, **{"interval": 1, **wrong}, panel=case_panel)


def test_picture_says_where_each_panel_is(tmp_path):
    run(tmp_path, [item("a"), item("b", label=False)], epochs=2, interval=2)
    sheet = read_sheets(tmp_path)[2]
    assert sheet.epoch == 2 and list(sheet.cases) == ["a", "b"]
    assert sheet.titles("a") == ["image", "weak label", "prediction", "reference"]
    assert sheet.titles("b") == ["image", "weak label", "prediction"]
    about = sheet.cases["a"]
    assert (about["patient"], about["slices"], [len(boxes) for boxes in about["panels"].values()]) == (
        "a",
        [2, 3],
        [2] * 4,
    )
    for case in ("a", "b"):
        pictures = {title: np.asarray(sheet.picture(case, title)).reshape(-1, 3) for title in sheet.titles(case)}
        colours = {title: set(map(tuple, picture.tolist())) for title, picture in pictures.items()}
        assert {k: {t for t, found in colours.items() if class_colour(k) in found} for k in (1, 2)} == {
            1: {"prediction"},
            2: {"prediction", "reference"} if case == "a" else {"prediction"},
        }


def test_colours_do_not_depend_on_what_else_is_shown(tmp_path):
    """So that the pictures of a case do not flicker from epoch to epoch."""
    noise = item("b")
    noise["image"] = noise["image"] + 9 * torch.rand(noise["image"].shape, generator=torch.Generator().manual_seed(0))
    plain = item("a")
    plain["image"] = plain["image"] + torch.linspace(0, 1, 20)[:, None, None]
    run(tmp_path / "one", [plain], epochs=1)
    run(tmp_path / "two", [plain, noise], epochs=1)
    one, two = (read_sheets(tmp_path / name)[1].picture("a", "prediction") for name in ("one", "two"))
    assert np.array_equal(np.asarray(one), np.asarray(two))
    with Image.open(tmp_path / "one" / "snapshots" / "epoch_0001.png") as sheet:
        assert sheet.mode == "P"
        assert sheet.convert("RGB").getpixel((sheet.width - 1, 0)) == (255, 255, 255)


def test_one_slice_is_shown_whole_and_larger(tmp_path):
    run(tmp_path, [item("a", shape=(40, 40, 1))], epochs=1)
    run(tmp_path / "small", [item("a", shape=(40, 40, 1))], epochs=1, tile=80)
    for folder, rows in ((tmp_path, 256), (tmp_path / "small", 80)):
        picture = read_sheets(folder)[1].picture("a", "reference")
        assert picture.height == rows  # 40 voxels of 2 mm down, 40 of 1 mm across
        assert picture.width == rows // 2
