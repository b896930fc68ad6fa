# SPDX-License-Identifier: Apache-2.0
"""Archives by themselves; tests/data/releases/test_acdc.py has what they do to a conversion."""

from __future__ import annotations

import zipfile

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
