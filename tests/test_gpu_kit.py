# SPDX-License-Identifier: Apache-2.0
"""The kit for a machine with a GPU works on a CPU too, and what it packs is the data set."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import ROOT, make_dataset

from wss_monai.data import load_cases

SCRIPT = ROOT / "benchmarks" / "gpu.sh"


def kit(*words: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, words)], env=environment, capture_output=True, encoding="utf-8"
    )


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_all_parts_run_on_a_cpu(tmp_path):
    done = kit("--smoke", "--out", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    checks = rows(tmp_path / "checks.csv")
    assert {row["check"] for row in checks} == {"tests marked gpu", "one step", "two epochs", "kill and resume"}
    assert all(row["result"] == "ok" for row in checks)
    speed = {(row["what"], row["unit"]) for row in rows(tmp_path / "speed.csv") if row["value"]}
    for what in ("trainer", "our batches, bare loop", "floor: batch on the device, cross-entropy"):
        assert (what, "iterations/s") in speed
    assert any(what.startswith("dense CRF") for what, _ in speed)
    assert any(what.startswith("local mutual information, separable") for what, _ in speed)
    [dice] = rows(tmp_path / "dice.csv")
    assert 0 <= float(dice["dice"]) <= 1 and dice["bounds_origin"] == "none" and dice["device"].startswith("CPU")
    table = (tmp_path / "table.md").read_text()
    assert table.startswith("# CPU") and all(f"## {part}" in table for part in ("checks", "speed", "dice"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path):
    done = kit("--out", tmp_path / "out")
    assert done.returncode == 1 and "there is no GPU here: --smoke" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def pack(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "gpu"))
    import pack

    return pack


def test_a_packed_data_set_is_the_same_in_eight_bits(pack, tmp_path):
    source = make_dataset(tmp_path / "source")
    pack.small_copy(source, tmp_path / "copy" / "data")
    pack.archive(tmp_path / "copy" / "data", tmp_path / "data.tar.xz")
    with tarfile.open(tmp_path / "data.tar.xz") as tar:
        tar.extractall(tmp_path / "there", filter="data")
    names = ["background", "RV", "Myo", "LV"]
    before, after = (load_cases(str(folder), names, validation=1) for folder in (source, tmp_path / "there" / "data"))
    assert before.patients == after.patients
    content = json.loads((source / "dataset.json").read_text())
    for case in [*content["training"], *content["test"]]:
        for key in ("image", "label", "weak_label"):
            old = nib.load(source / case[key])
            new = nib.load(tmp_path / "there" / "data" / case[key].removesuffix(".gz"))
            np.testing.assert_allclose(new.affine, old.affine, atol=1e-6)
            a, b = np.asarray(old.dataobj, float), np.asarray(new.dataobj)
            assert b.dtype == np.uint8
            if key == "image":
                scaled = (a - a.min()) / (a.max() - a.min()) * 255
                assert np.abs(scaled - b).max() <= 0.5001
            else:
                np.testing.assert_array_equal(a, b)


def test_other_files_than_nifti_are_not_packed(pack, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"training": [{"image": "a.mhd"}]}))
    with pytest.raises(ValueError, match=r"a\.mhd: a kit packs NIfTI files alone"):
        pack.small_copy(tmp_path / "data", tmp_path / "out")
