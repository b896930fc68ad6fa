# SPDX-License-Identifier: Apache-2.0
"""Folders that appear whole, and what killed processes leave beside them."""

from __future__ import annotations

import json
import os
import stat

import pytest

from wss_monai.io.folder_lock import LOCK
from wss_monai.io.whole_folder import whole_folder, working_folder


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_appears_at_the_end_with_the_rights_of_a_new_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    with whole_folder(tmp_path / "out") as work:
        (work / "dataset.json").write_text("{}")
        assert work.parent == tmp_path and not (tmp_path / "out").exists()
    assert names(tmp_path / "out") == ["dataset.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"out", "plain"}
    rights = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("out", "plain")]
    assert rights[0] == rights[1]


def test_files_go_beside_those_that_are_there_and_the_description_comes_last(tmp_path, monkeypatch):
    out, order = tmp_path / "out", []
    (out / "a").mkdir(parents=True)
    for name in ("mine.txt", "a/x", "dataset.json"):
        (out / name).write_text("former")
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(b.name), replace(a, b)))
    with whole_folder(out) as work:
        (work / "a").mkdir()
        (work / "z").mkdir()
        for name in ("dataset.json", "a/x", "z/y"):
            (work / name).write_text("new")
        assert {(out / name).read_text() for name in names(out)} == {"former"}
    assert order == ["x", "y", "dataset.json"]
    assert {name: (out / name).read_text() for name in names(out)} == {
        "mine.txt": "former", "a/x": "new", "z/y": "new", "dataset.json": "new",
    }  # fmt: skip


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as work:
        (work / "x").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_and_those_of_others_stay(tmp_path):
    gone, host = 2**22 + 1, os.uname().nodename  # no process has such a number
    owners = {"gone": {"host": host, "pid": gone}, "lives": {"host": host, "pid": os.getpid()}}
    owners |= {"elsewhere": {"host": "another", "pid": gone}}
    for name, owner in owners.items():
        (tmp_path / f".out.{name}").mkdir()
        (tmp_path / f".out.{name}" / LOCK).write_text(json.dumps(owner))
    (tmp_path / ".out.mine").mkdir()
    (tmp_path / ".other.gone").mkdir()
    (tmp_path / ".other.gone" / LOCK).write_text(json.dumps(owners["gone"]))
    with working_folder(tmp_path / "out"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".out.lives", ".out.elsewhere", ".out.mine", ".other.gone"}


def test_a_link_leads_to_the_folder_itself(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with whole_folder(tmp_path / "link") as work:
        (work / "x").write_text("new")
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "there") == ["x"]
