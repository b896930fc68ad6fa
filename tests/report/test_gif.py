# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wss_monai.report.gif import default_captions, write_gif
from wss_monai.report.run_folder import read_runs
from wss_monai.report.snapshot_sheets import read_sheets

COLOURS = {"image": (90, 90, 90), "weak label": (0, 114, 178), "prediction": (230, 159, 0), "reference": (0, 158, 115)}
SIDE = 220


def draw(run, epochs, cases=("a", "b"), side=SIDE, slices=(0,), colour=None):
    """Snapshots of flat colours; a prediction becomes darker from epoch to epoch."""
    folder = run / "snapshots"
    folder.mkdir(exist_ok=True)
    for epoch in epochs:
        sheet = Image.new("RGB", (4 * side, len(cases) * len(slices) * side), "white")
        found = {}
        for number, case in enumerate(cases):
            panels = {}
            for column, (title, rgb) in enumerate(COLOURS.items()):
                if title == "prediction":
                    rgb = colour or (230 - 10 * epoch, 159, 0)
                top = number * len(slices) * side
                boxes = [
                    [column * side, top + row * side, (column + 1) * side, top + (row + 1) * side]
                    for row in range(len(slices))
                ]
                for box in boxes:
                    sheet.paste(rgb, tuple(box))
                panels[title] = boxes
            found[case] = {"patient": case, "slices": list(slices), "panels": panels}
        text = PngInfo()
        text.add_itxt("panels", json.dumps({"epoch": epoch, "cases": found}))
        sheet.save(folder / f"epoch_{epoch:04d}.png", pnginfo=text)
    return run


@pytest.fixture
def two_runs(make_run):
    runs = [make_run(mode, evaluated=False, mode=mode) for mode in ("partial", "quadratic")]
    return draw(runs[0], (1, 2, 3)), draw(runs[1], (2, 3, 5), colour=(0, 0, 200))


def frames(path):
    with Image.open(path) as film:
        found = []
        for number in range(film.n_frames):
            film.seek(number)
            found.append((film.convert("RGB"), film.info))
        return found


def test_one_frame_an_epoch_that_all_runs_have(two_runs, tmp_path):
    film = write_gif(two_runs, tmp_path / "made" / "film.gif", captions=["left", "right"])
    assert (film.case, film.epochs, film.captions) == ("a", [2, 3], ["left", "right"])
    found = frames(film.path)
    assert [info["duration"] for _, info in found] == [200, 200]
    assert found[0][1]["loop"] == 0
    width, height = found[0][0].size
    middles = [frame.crop((width // 2 - 100, height - 45, width // 2 + 100, height)) for frame, _ in found]
    assert not np.array_equal(*map(np.asarray, middles))  # "Epoch 2", "Epoch 3"
    places = [(width // 4, height // 2), (3 * width // 4, height // 2)]
    assert [[frame.getpixel(place) for place in places] for frame, _ in found] == [
        [(210, 159, 0), (0, 0, 200)],
        [(200, 159, 0), (0, 0, 200)],
    ]


def test_what_stays_does_not_flicker(two_runs, tmp_path):
    (first, _), (second, _) = frames(write_gif(two_runs, tmp_path / "film.gif", beside=["image"]).path)
    changed = (np.asarray(first) != np.asarray(second)).any(-1)
    columns = np.flatnonzero(changed[: first.height - 45].any(0))
    assert len(columns) == SIDE  # the first run's prediction alone; neither image nor the second run
    assert first.getpixel((60, first.height // 2)) == COLOURS["image"]


def test_time_scale_and_rows_of_slices(make_run, tmp_path):
    runs = [draw(make_run("one", evaluated=False), (1, 2), side=60, slices=(4, 7))]
    small = frames(write_gif(runs, tmp_path / "small.gif", scale=1, seconds=0.5).path)
    large = frames(write_gif(runs, tmp_path / "large.gif").path)  # below 200 pixels: twice as large
    assert small[0][1]["duration"] == 500
    assert large[0][0].width - small[0][0].width == 60
    assert large[0][0].height - small[0][0].height == 124  # two slices and the gap between them


def test_many_colours_become_255_at_most(make_run, tmp_path):
    run = make_run("many", evaluated=False)
    draw(run, (1, 2))
    for path in (run / "snapshots").glob("*.png"):
        with Image.open(path) as old:
            text = PngInfo()
            text.add_itxt("panels", old.text["panels"])
        noise = np.random.RandomState(0).randint(0, 256, (2 * SIDE, 4 * SIDE, 1)).repeat(3, 2)
        noise[..., 0] = noise[..., 0] // 2
        noise[..., 2] = np.arange(4 * SIDE) % 9 * 20
        Image.fromarray(noise.astype(np.uint8)).save(path, pnginfo=text)
    (first, _) = frames(write_gif([run], tmp_path / "film.gif").path)[0]
    shown = np.asarray(first)[40:200, 20:200].astype(int)
    real = np.asarray(read_sheets(run)[1].picture("a", "prediction")).astype(int)
    assert len(np.unique(np.asarray(first).reshape(-1, 3), axis=0)) <= 255
    assert abs(shown.mean((0, 1)) - real.mean((0, 1))).max() < 6


def test_still_shows_image_weak_label_and_reference_beside(two_runs, tmp_path):
    write_gif(two_runs, tmp_path / "film.gif", still=tmp_path / "still.png", case="b")
    still = Image.open(tmp_path / "still.png").convert("RGB")
    fifth = still.width // 5
    row = [still.getpixel((i * fifth + fifth // 2, still.height // 2)) for i in range(5)]
    assert row == [COLOURS[t] for t in ("image", "weak label", "reference")] + [(200, 159, 0), (0, 0, 200)]


def metrics(run, text):
    (run / "metrics.csv").write_text(text)


def test_captions_say_what_the_loss_consists_of(make_run):
    runs = [
        make_run(name, evaluated=False, mode=mode)
        for name, mode in (("a", "partial"), ("b", "quadratic"), ("c", "logbarrier"), ("d", "full"))
    ]
    for run, columns in zip(
        runs, ("loss_partial", "loss_partial,loss_size", "loss_size,loss_centroid", "loss_dense"), strict=True
    ):
        metrics(run, f"epoch,loss,{columns}\n1,1,2{',3' * columns.count(',')}\n")
    assert default_captions(read_runs(runs)) == [
        "Partial CE",
        "Partial CE + Sizeloss",
        "Size log-barrier + centroid log-barrier",
        "Full supervision",
    ]


def test_captions_of_two_seeds_are_their_names(make_run):
    runs = [make_run(f"run{seed}", evaluated=False, seed=seed) for seed in (0, 1)]
    for run in runs:
        metrics(run, "epoch,loss,loss_partial\n1,1,2\n")
    assert default_captions(read_runs(runs)) == ["partial, seed 0", "partial, seed 1"]


def test_runs_without_snapshots_are_named(make_run, tmp_path):
    run = make_run(evaluated=False)
    with pytest.raises(FileNotFoundError, match=r"run/snapshots holds no epoch_\*\.png.*--validation"):
        write_gif([run], tmp_path / "film.gif")


def test_runs_that_share_nothing_are_refused(make_run, tmp_path):
    names = ("partial", "quadratic", "full")
    one, other, third = (make_run(mode, evaluated=False, mode=mode) for mode in names)
    draw(one, (1, 2))
    draw(other, (3, 4))
    draw(third, (1, 2), cases=("x",))
    with pytest.raises(ValueError, match=r"no epoch .* in common \(.*partial: 1, 2; .*: 3, 4\).*--val_interval"):
        write_gif([one, other], tmp_path / "film.gif")
    with pytest.raises(ValueError, match=r"show different cases \(.*partial: a, b; .*full: x\)"):
        write_gif([one, third], tmp_path / "film.gif")
    with pytest.raises(ValueError, match=r"case 'x' is not in the snapshots of all runs \(.*partial: a, b"):
        write_gif([one], tmp_path / "film.gif", case="x")
    assert not (tmp_path / "film.gif").exists()


@pytest.mark.parametrize("change", [{"side": 100}, {"slices": (3,)}])
def test_different_parts_of_a_case_are_refused(make_run, tmp_path, change):
    one, other = (make_run(mode, evaluated=False, mode=mode) for mode in ("partial", "full"))
    draw(one, (1, 2))
    draw(other, (1, 2), **change)
    with pytest.raises(ValueError, match=r"different parts of a .*pixdim and crop"):
        write_gif([one, other], tmp_path / "film.gif")


def test_older_snapshots_are_refused(make_run, tmp_path):
    run = make_run(evaluated=False)
    (run / "snapshots").mkdir()
    Image.new("RGB", (4, 4)).save(run / "snapshots" / "epoch_0001.png")
    with pytest.raises(ValueError, match=r"epoch_0001\.png does not say where its panels are.*again"):
        write_gif([run], tmp_path / "film.gif")
    (run / "snapshots" / "epoch_0001.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"epoch_0001\.png cannot be read as a picture"):
        write_gif([run], tmp_path / "film.gif")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"out": "film.mp4"}, r"out must .*\.gif, got film\.mp4"),
        ({"still": "still.jpg"}, r"still must .*\.png, got still\.jpg"),
        ({"seconds": 0.0}, "seconds must lie between"),
        ({"scale": 0}, "scale must lie between 1 and 8, got 0"),
        ({"captions": ["one"]}, "captions must be one a run: 2 runs and 1 captions"),
        ({"panel": "weak"}, r"has no panel 'weak' of a, only \['image', 'weak label'"),
        ({"beside": ["nothing"]}, "has no panel 'nothing'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(two_runs, change, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        write_gif(two_runs, **{"out": tmp_path / "film.gif", **change})
