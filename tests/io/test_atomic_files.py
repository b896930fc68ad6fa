# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager

import nibabel as nib
import numpy as np
import pytest
import torch

from wss_monai.handlers.checkpoint import save_atomically
from wss_monai.io.atomic_files import check_replaceable, check_writable, naming, replacing, sweep


def test_takes_the_place_of_the_former_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("former")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path and temporary.suffix == ".csv"
        assert path.read_text() == "former"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("wait", [True, False])
def test_it_is_on_the_disk_before_it_takes_the_place(tmp_path, monkeypatch, wait):
    path, done = tmp_path / "a.csv", []
    path.write_text("former")
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append((path.read_text(), os.fstat(descriptor).st_size)))
    with replacing(path, wait) as temporary:
        temporary.write_text("new one")
    assert done == ([("former", 7)] if wait else [])


@pytest.mark.parametrize("former", [True, False])
def test_an_error_half_way_leaves_the_former_file(tmp_path, former):
    path = tmp_path / "a.csv"
    if former:
        path.write_text("former")
    for error, expected in ((KeyboardInterrupt(), KeyboardInterrupt), (ValueError("x"), ValueError)):
        with pytest.raises(expected), replacing(path) as temporary:
            temporary.write_text("half")
            raise error
    with pytest.raises(OSError, match="No space left") as caught, replacing(str(path)) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert ("the former file is whole" in str(caught.value)) == former
    assert [p.read_text() for p in tmp_path.iterdir()] == (["former"] if former else [])


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "a.csv", tmp_path / "no" / "a.csv"):
        with pytest.raises(OSError, match="choose another folder") as caught, replacing(path) as temporary:
            temporary.write_text("new")
        assert caught.value.filename == str(path)


@contextmanager
def full_disk():
    """No file may grow beyond 2000 bytes: what a full disk does to a writer, without one.

    The limit ends with the block, for it is also one of the file that pytest may write its report to.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_checkpoint_and_volume_on_a_full_disk(tmp_path):
    R = np.random.RandomState(0)
    volumes = [R.randint(0, 255, (16, 16, 16)).astype(np.uint8) for _ in range(2)]

    def volume(number, path):
        with replacing(path) as temporary:
            nib.save(nib.Nifti1Image(volumes[number], np.eye(4)), temporary)

    model, prediction = tmp_path / "model.pt", tmp_path / "p.nii.gz"
    save_atomically({"a": torch.zeros(2000)}, model)
    volume(0, prediction)
    for write, path in (
        (lambda: save_atomically({"a": torch.ones(2000)}, model), model),
        (lambda: volume(1, prediction), prediction),
    ):
        with pytest.raises(OSError, match="the former file is whole") as caught, full_disk():
            write()
        assert caught.value.filename == str(path)
    assert not torch.load(model, weights_only=True)["a"].any()
    np.testing.assert_array_equal(np.asarray(nib.load(prediction).dataobj), volumes[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt", "p.nii.gz"]


def test_errors_of_other_writers_name_the_file(tmp_path):
    message = r"cannot write \(No space left on device\): make room.*events"
    with pytest.raises(OSError, match=message) as caught, naming(tmp_path / "events"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "events")
    with naming(tmp_path):
        pass


def test_folders_that_can_be_written_and_not(tmp_path):
    check_writable(tmp_path / "new" / "below")
    check_writable(str(tmp_path))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        for folder in (tmp_path / name, tmp_path / name / "below"):
            with pytest.raises(ValueError, match=rf"cannot write to the output folder {folder} \("):
                check_writable(folder)


def test_sweeping_removes_what_is_half_written_and_nothing_else(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    kept = [tmp_path / "a" / "x.nii.gz", tmp_path / ".parts", tmp_path / "a" / "my.part-1"]
    for path in (*kept, tmp_path / ".part-y.png", tmp_path / "a" / "b" / ".part-z.nii.gz"):
        path.write_text("x")
    sweep(tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


def test_only_a_file_of_the_same_kind_is_replaceable(tmp_path):
    path = tmp_path / "x.json"
    check_replaceable(path, "--json", (b"{",), (b'"mine"',))
    check_replaceable(None, "--json", (b"{",))
    for content in (b"", b'{"mine": 1}'):
        path.write_bytes(content)
        check_replaceable(path, "--json", (b"{",), (b'"mine"',))
    for content in (b'{"training": []}', b'["mine"]'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"--json: '.*x\.json' is there already"):
            check_replaceable(path, "--json", (b"{",), (b'"mine"',))
