# SPDX-License-Identifier: Apache-2.0
"""Stores in memory, on a disk and on a device give the same batches; one folder for all processes, whole or none."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, Lambdad, MapTransform, ResizeWithPadOrCropd, Spacingd
from tiny import user_error
from torch import Tensor

from wss_monai.data import BatchLoader, PairedLoader, PatchStore, PreparedCases, SliceStore, StorePlace
from wss_monai.data.loading import store_place
from wss_monai.data.loading.disk_columns import LET_GO
from wss_monai.data.loading.estimated_size import estimated_bytes, prepared_shape
from wss_monai.data.loading.fingerprint import fingerprint
from wss_monai.transforms import LoadCased, WeakTagsd

ROOT = Path(__file__).resolve().parents[3]
SLICES, PATCHES = (6, 5, -1), (-1, -1, -1)


def write(folder: Path, count: int = 4, channels: int = 1) -> list[dict]:
    """Cases of three to six slices with labels drawn here and there."""
    R = np.random.RandomState(7)
    folder.mkdir(exist_ok=True)
    cases = []
    for number in range(count):
        shape = (7, 6, 3 + number % 4)
        images = []
        for channel in range(channels):
            images.append(str(folder / f"{number}_{channel}.nii.gz"))
            nib.save(nib.Nifti1Image(R.rand(*shape).astype(np.float32), np.diag([2.0, 1.5, 8.0, 1.0])), images[-1])
        weak = R.choice([0, 1, 2, 255], shape, p=[0.1, 0.1, 0.1, 0.7]).astype(np.uint8)
        nib.save(nib.Nifti1Image(weak, np.diag([2.0, 1.5, 8.0, 1.0])), folder / f"{number}_w.nii.gz")
        cases.append(
            {
                "case": f"c{number}",
                "image": images if channels > 1 else images[0],
                "weak_label": str(folder / f"{number}_w.nii.gz"),
                "weak_values": {0: 0, 1: 1, 2: 2, 255: 255},
                "weak_kind": "scribble",
                "undrawn_means_absent": False,
            }
        )
    return cases


def steps(crop: tuple[int, ...] = SLICES, more: tuple = ()) -> Compose:
    return Compose(
        [
            LoadCased(["image", "weak_label"], num_classes=3),
            WeakTagsd(num_classes=3),
            Spacingd("image", [1.5, 1.5, -1.0], mode="bilinear"),
            Spacingd("weak_label", [1.5, 1.5, -1.0], mode="nearest"),
            ResizeWithPadOrCropd("image", crop),
            ResizeWithPadOrCropd("weak_label", crop, value=255),
            *more,
        ]
    )


def batches(store) -> list[dict[str, Tensor]]:
    loader = BatchLoader(store, batch_size=3, seed=5)
    out = []
    for epoch in (1, 2):
        loader.set_epoch(epoch)
        out += list(loader)
    return out


def slices(volumes, place: StorePlace | None = None) -> SliceStore:
    return SliceStore(volumes, place=place)


def patches(volumes, place: StorePlace | None = None) -> PatchStore:
    return PatchStore(volumes, (5, 9, 4), 3, place=place)


KINDS = [(slices, SLICES), (patches, PATCHES)]


def assert_same(first: list[dict[str, Tensor]], second: list[dict[str, Tensor]]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert value.dtype == other[key].dtype
            assert torch.equal(value, other[key]), key


@pytest.mark.parametrize(("store", "crop"), KINDS)
@pytest.mark.parametrize("place", ["disk", "device", "auto"])
def test_the_same_batches_wherever_they_lie(tmp_path, store, crop, place):
    cases = write(tmp_path / "data", channels=2)
    cached = batches(store(CacheDataset(cases, steps(crop), progress=False)))
    there = StorePlace(place, tmp_path / "store", "cpu")
    assert_same(cached, batches(store(PreparedCases(cases, steps(crop), progress=False), there)))
    if place == "disk":
        assert_same(cached, batches(store(PreparedCases(cases, steps(crop), progress=False), there)))


@pytest.mark.parametrize(("store", "crop"), KINDS)
def test_whole_cases_are_what_came_in(tmp_path, store, crop):
    cases = write(tmp_path / "data")
    prepared = list(PreparedCases(cases, steps(crop), progress=False))
    for case in prepared:
        case["expected_size"] = torch.tensor([float("nan"), 2.0, 3.0])
    stores = [store(prepared), store(PreparedCases(prepared, None, progress=False), StorePlace("disk", tmp_path / "s"))]
    for made in stores:
        assert len(made.whole_cases) == 4
        assert made.whole_cases[1:3][0]["case"] == "c1"
        for whole, came in zip(made.whole_cases, prepared, strict=True):
            assert whole["case"] == came["case"]
            assert whole["weak_kind"] == "scribble"
            for key in ("image", "weak_label"):
                assert torch.equal(whole[key].as_tensor(), came[key].as_tensor().to(whole[key].dtype))
                assert torch.equal(whole[key].affine, came[key].affine)
            for key in ("tags", "slice_tags"):
                assert torch.equal(whole[key], torch.as_tensor(came[key]))
            assert whole["expected_size"][1:].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(("store", "crop"), KINDS)
def test_by_case_is_the_same_on_a_disk(tmp_path, store, crop):
    volumes = PreparedCases(write(tmp_path / "data"), steps(crop), progress=False)
    for key in ("image", "weak_label", "spacing"):
        there = list(store(volumes, StorePlace("disk", tmp_path / "s")).by_case(key))
        here = list(store(volumes).by_case(key))
        assert [name for name, _ in there] == ["c0", "c1", "c2", "c3"]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(there, here, strict=True))
    with pytest.raises(KeyError):
        list(store(volumes).by_case("nothing"))


def test_a_key_that_only_some_cases_have_and_other_whole_numbers():
    first = {"case": "a", "image": torch.rand(1, 4, 4, 2), "slice_tags": torch.tensor([[1, 0], [0, 1]]).to(torch.int8)}
    second = {"case": "b", "image": torch.rand(1, 4, 4, 1), "slice_tags": [[1, 1]], "expected_size": torch.ones(2)}
    store = SliceStore([first, second])
    assert "expected_size" not in store.whole_cases[0]
    assert store.whole_cases[1]["expected_size"].tolist() == [1, 1]
    assert store.tensors["slice_tags"].tolist() == [[1, 0], [0, 1], [1, 1]]
    with pytest.raises(ValueError, match="'image' is float64 in a case and float32 in those before"):
        SliceStore([first, {**second, "image": torch.full((1, 4, 4, 1), 0.1, dtype=torch.float64)}])


def test_two_stores_on_two_devices_pair(tmp_path):
    """Where only one of the two is on the device, its batches go there; here both names mean the CPU."""
    cases = write(tmp_path / "data")
    where = StorePlace("device", device="cpu")
    made = [SliceStore(PreparedCases(cases, steps(), progress=False), place=place) for place in (where, None)]
    alike = [list(PairedLoader(*pair, 2, 2, 3)) for pair in (made, [made[1], made[1]])]
    assert_same(*alike)


class TestFolder:
    def test_it_is_made_once_and_opened_later(self, tmp_path):
        cases, counted = write(tmp_path / "data"), Counted("image")
        where = StorePlace("disk", tmp_path / "store")
        for _ in range(3):
            volumes = PreparedCases(cases, steps(more=(counted,)), progress=False)
            assert len(SliceStore(volumes, place=where)) == 3 + 4 + 5 + 6
        assert Counted.calls == 4
        Counted.calls = 0
        assert len([p for p in (tmp_path / "store").iterdir() if p.is_dir()]) == 1

    def test_use_does_not_change_it(self, tmp_path):
        volumes = PreparedCases(write(tmp_path / "data"), steps(), progress=False)
        before = fingerprint(volumes.data, volumes.transform)
        list(volumes)
        assert fingerprint(volumes.data, volumes.transform) == before

    def test_what_changes_it(self, tmp_path):
        """Another file, step, axis or kind of store gives another folder; a moved data set and a second look do not."""
        cases = write(tmp_path / "data")
        where = StorePlace("disk", tmp_path / "store")

        def folders() -> int:
            return len([p for p in (tmp_path / "store").iterdir() if p.is_dir()])

        def make(cases=cases, crop=SLICES, more=(), **settings):
            return SliceStore(PreparedCases(cases, steps(crop, more), progress=False), place=where, **settings)

        make()
        make()
        assert folders() == 1
        make(crop=(5, 5, -1))
        make(more=(Lambdad("image", lambda x: x + 1),))
        make(more=(Lambdad("image", lambda x: x + 2),))
        make(maps=["weak_label"])
        make(cases=cases[:3])
        make(cases=[{**cases[0], "weak_values": {0: 0, 1: 2, 2: 1, 255: 255}}])
        PatchStore(PreparedCases(cases, steps(), progress=False), (5, 5, 3), place=where)
        assert folders() == 8
        os.utime(cases[2]["image"], (1e9, 1e9))
        make()
        assert folders() == 9
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        moved = [{**c, **{k: c[k].replace("/data/", "/elsewhere/") for k in ("image", "weak_label")}} for c in cases]
        make(cases=moved)
        assert folders() == 9

    def test_the_warnings_come_again(self, tmp_path, caplog):
        cases = write(tmp_path / "data")
        bounds = Lambdad("bounds_ml", lambda x: x)
        bounds.keys = ("bounds_ml",)
        cases = [{**case, "bounds_ml": torch.tensor([[[1.0, 9.0]]] * 3)} for case in cases]
        for _ in range(2):
            caplog.clear()
            PatchStore(PreparedCases(cases, steps(PATCHES), progress=False), (3, 3, 2), place=disk(tmp_path))
            assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
                "bounds_ml: patches are smaller than the volumes, so only upper bounds are kept."
            ]

    def test_a_case_that_cannot_be_read_leaves_nothing_and_says_which(self, tmp_path):
        cases = write(tmp_path / "data")
        Path(cases[2]["image"]).unlink()
        with pytest.raises(RuntimeError) as caught:
            SliceStore(PreparedCases(cases, steps(), progress=False), place=disk(tmp_path))
        assert "case 'c2'" in user_error(caught.value)
        assert [p.name for p in (tmp_path / "store").iterdir() if p.is_dir()] == []

    def test_a_file_of_another_length_is_refused(self, tmp_path):
        volumes = PreparedCases(write(tmp_path / "data"), steps(), progress=False)
        SliceStore(volumes, place=disk(tmp_path))
        (folder,) = [p for p in (tmp_path / "store").iterdir() if p.is_dir()]
        with (folder / "0.bin").open("ab") as file:
            file.write(b"x")
        with pytest.raises(ValueError, match=r"0.bin has .* bytes, its index says .*: delete the folder"):
            SliceStore(volumes, place=disk(tmp_path))

    def test_no_room(self, tmp_path):
        (tmp_path / "file").write_text("")
        volumes = PreparedCases(write(tmp_path / "data"), steps(), progress=False)
        with pytest.raises(OSError, match=r"cannot write the store .*--store_dir"):
            SliceStore(volumes, place=StorePlace("disk", tmp_path / "file" / "store"))

    def test_it_is_made_of_prepared_cases_in_a_folder(self, tmp_path):
        cases = list(PreparedCases(write(tmp_path / "data"), steps(), progress=False))
        with pytest.raises(ValueError, match="PreparedCases"):
            SliceStore(cases, place=disk(tmp_path))
        with pytest.raises(ValueError, match="--store_dir"):
            SliceStore(PreparedCases(cases, progress=False), place=StorePlace("disk"))
        with pytest.raises(ValueError, match=r"store must be one of .* got 'disc'"):
            StorePlace("disc")

    def test_pages_are_handed_back(self, tmp_path, monkeypatch):
        monkeypatch.setattr("wss_monai.data.loading.disk_columns.LET_GO", 500)
        assert LET_GO == 256 * 2**20
        volumes = PreparedCases(write(tmp_path / "data"), steps(), progress=False)
        assert_same(batches(SliceStore(volumes)), batches(SliceStore(volumes, place=disk(tmp_path))))

    @pytest.mark.parametrize("killed", [False, True])
    def test_two_processes_at_once_and_one_killed(self, tmp_path, killed, request):
        """Both are at work when one is killed, in its second case; whoever is left makes the folder."""
        cases = write(tmp_path / "data")
        if not killed:
            (tmp_path / "go").touch()
        (tmp_path / "cases.json").write_text(json.dumps(cases))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(__file__).parent))),
        }
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        request.addfinalizer(lambda both=tuple(started): [process.kill() for process in both])
        if killed:
            parts = tmp_path / "store"
            while not list(parts.glob(".part-*/0.bin")):
                assert [process.poll() for process in started] == [None, None]
                time.sleep(0.01)
            part = next(parts.glob(".part-*"))
            (writer,) = [p for p in started if part.name.endswith(f"-{p.pid}")]
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            (tmp_path / "go").touch()
            assert not [p for p in parts.iterdir() if p.is_dir() and not p.name.startswith(".part-")]
            started.remove(writer)
        said = [process.communicate(timeout=600)[0].split() for process in started]
        assert [process.returncode for process in started] == [0] * len(started)
        assert sum(int(prepared) for prepared, _ in said) == 4
        assert {slices for _, slices in said} == {"18"}
        assert len([p for p in (tmp_path / "store").iterdir() if p.is_dir()]) == 1


SCRIPT = """
import json, sys
from pathlib import Path
import test_store_places as t
from wss_monai.data import PreparedCases, SliceStore
folder = Path(sys.argv[1])
cases = json.loads((folder / "cases.json").read_text())
cases = [{**case, "weak_values": {int(k): v for k, v in case["weak_values"].items()}} for case in cases]
t.Slow.go = folder / "go"
volumes = PreparedCases(cases, t.steps(more=(t.Slow("image"),)), progress=False)
store = SliceStore(volumes, place=t.disk(folder))
print(t.Counted.calls, len(store))
"""


class Counted(MapTransform):
    """Counts the cases that pass."""

    calls = 0

    def __call__(self, data):
        Counted.calls += 1
        return data


class Slow(Counted):
    """The first case takes 0.1 s, the others until there is a file."""

    go: Path  # of the class, since what an instance holds is part of a store's name, and so are the files it names

    def __call__(self, data):
        time.sleep(0.1)
        while Counted.calls and not self.go.exists():
            time.sleep(0.01)
        return super().__call__(data)


def disk(folder: Path) -> StorePlace:
    return StorePlace("disk", folder / "store")


class TestAuto:
    def test_the_estimate_is_what_it_takes(self, tmp_path):
        """Two modalities of four bytes and a map of one: 9 bytes a voxel, in patches with their padding."""
        volumes = PreparedCases(write(tmp_path / "data", channels=2), steps(), progress=False)
        store = SliceStore(volumes)
        exact = store.tensors["image"].nbytes + store.tensors["weak_label"].nbytes
        assert exact == 9 * 30 * (3 + 4 + 5 + 6)
        assert estimated_bytes(volumes, store.maps) == exact
        free = PreparedCases(volumes.data, steps(PATCHES), progress=False)
        store = PatchStore(free, (5, 9, 4))
        exact = store.columns.buffers["image"].nbytes + store.columns.buffers["weak_label"].nbytes
        assert exact == 9 * 9 * 9 * (4 + 4 + 5 + 6)  # 7 and 6 voxels of 2 and 1.5 mm are 9 and 6 of 1.5 mm
        assert estimated_bytes(free, store.maps, (5, 9, 4)) == exact
        assert prepared_shape(free.data[0], free.transform) == (9, 6, 3)

    def test_other_steps_are_scaled_as_the_first_case(self, tmp_path):
        half = Lambdad(["image", "weak_label"], lambda x: x[..., ::2])
        volumes = PreparedCases(write(tmp_path / "data"), steps(more=(half,)), progress=False)
        assert estimated_bytes(volumes, ["weak_label"]) == round(5 * 30 * 18 * 2 / 3)  # two of three slices

    @pytest.mark.parametrize(
        ("free", "processes", "chosen"), [(1e9, 1, "memory"), (6000, 1, "memory"), (6000, 2, "disk")]
    )
    def test_memory_with_a_margin_for_all_processes_of_the_machine(
        self, tmp_path, monkeypatch, caplog, free, processes, chosen
    ):
        """2700 bytes: 6000 x 0.6 hold one of them, not two."""
        monkeypatch.setattr(store_place, "free_memory", lambda: int(free))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        volumes = PreparedCases(write(tmp_path / "data"), steps(), progress=False)
        with caplog.at_level(logging.INFO):
            assert StorePlace("auto", tmp_path).chosen(volumes, ["weak_label"]) == chosen
        assert f"store {chosen}" in caplog.text
        assert "0.00 GB prepared" in caplog.text

    @pytest.mark.parametrize(("free", "chosen"), [(10000, "device"), (6000, "memory")])
    def test_a_gpu_with_room(self, tmp_path, monkeypatch, free, chosen):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
        volumes = PreparedCases(write(tmp_path / "data"), steps(), progress=False)
        assert StorePlace("auto", tmp_path, "cuda:0").chosen(volumes, ["weak_label"]) == chosen

    def test_cases_in_memory_stay_there(self):
        assert StorePlace("auto").chosen([{"image": torch.rand(1, 2, 2, 2)}], []) == "memory"

    def test_free_memory_is_what_the_system_says(self):
        assert 10**7 < store_place.free_memory() < 10**14
