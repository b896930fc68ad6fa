# SPDX-License-Identifier: Apache-2.0
"""Archives by themselves; tests/data/releases/test_acdc.py has what they do to a conversion."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.io.archives import unpack


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return path


def test_only_wanted_files_are_written_in_their_folders(tmp_path):
    unpack(zipped(tmp_path / "a.zip", a__b="1", a__c="2", d="3"), tmp_path / "out", lambda name: name != "a/c")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "out")): path.read_text() for path in files} == {"a/b": "1", "d": "3"}


def test_unsafe_member_that_nobody_wants_is_refused_too(tmp_path):
    archive = zipped(tmp_path / "a.zip", good="1", **{"..__evil": "2"})
    with pytest.raises(ValueError, match=r"a\.zip' is refused: the path '\.\./evil' leads out"):
        unpack(archive, tmp_path / "deep" / "out", lambda name: name == "good")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_name_that_is_a_file_and_a_folder_is_refused(tmp_path):
    for members in ({"a": "1", "a__b": "2"}, {"a__b": "2", "a": "1"}):
        with pytest.raises(ValueError, match="a file and a folder at once"):
            unpack(zipped(tmp_path / "a.zip", **members), tmp_path / "out", lambda name: True)


def test_encrypted_member_is_refused(tmp_path):
    archive = zipped(tmp_path / "a.zip", secret="1")
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    archive.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"cannot be unpacked: .*encrypted"):
        unpack(archive, tmp_path / "out", lambda name: True)


def test_command_refuses_an_unsafe_archive_in_one_line(tmp_path, capsys):
    archive = zipped(tmp_path / "acdc.zip", **{"..__patient001__Info.cfg": "ED: 1"})
    assert main(["prepare", "acdc", "--source", str(archive), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "acdc.zip' is refused: the path" in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acdc.zip"]


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_told_with_the_archive(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.bin", np.random.RandomState(0).bytes(20_000))
    content = bytearray(path.read_bytes())
    for at in range(6000, 6040):
        content[at] ^= 0xA5
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip' cannot be unpacked: .*; download it again"):
        unpack(path, tmp_path / "out", lambda name: True)


@pytest.mark.parametrize("kind", ["xz", "bz2", "gz"])
def test_a_damaged_tar_is_told_with_the_archive(tmp_path, kind):
    path = tmp_path / f"a.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as file:
        for number in range(30):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = 50_000
            file.addfile(info, io.BytesIO(np.random.RandomState(number).bytes(info.size)))
    content = bytearray(path.read_bytes())
    for at in range(len(content) * 9 // 10, len(content) * 9 // 10 + 40):
        content[at] ^= 0xA5
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.tar\.{kind}'"):
        unpack(path, tmp_path / "out", lambda name: True)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_what_would_take_too_much_room_is_refused_before_anything_is_written(tmp_path, monkeypatch, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("small", b"x")
            file.writestr("large", bytes(5000))
    else:
        with tarfile.open(path, "w") as file:
            for name, size in (("small", 1), ("large", 5000)):
                info = tarfile.TarInfo(name)
                info.size = size
                file.addfile(info, io.BytesIO(bytes(size)))
    monkeypatch.setattr("wss_monai.io.archives.LARGEST_MEMBER", 4096)
    with pytest.raises(ValueError, match=r"refused: 'large' would take .* unpack it yourself"):
        unpack(path, tmp_path / "out", lambda name: True)
    assert not (tmp_path / "out").exists()
    unpack(path, tmp_path / "out", lambda name: name == "small")  # what is not wanted does not count
    monkeypatch.setattr("wss_monai.io.archives.LARGEST_MEMBER", 8192)
    monkeypatch.setattr("wss_monai.io.archives.LARGEST_ALL", 5000)
    with pytest.raises(ValueError, match="refused: its files would take"):
        unpack(path, tmp_path / "out2", lambda name: True)
