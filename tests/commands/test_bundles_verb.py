# SPDX-License-Identifier: Apache-2.0
"""`wss-monai bundles`, and that a copy trains, evaluates and predicts from any folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow, create_workflow
from this_process import as_if_started
from tiny import ROOT, TINY, command_here, make_dataset, user_error

from wss_monai.__main__ import main
from wss_monai.commands.run import config_files
from wss_monai.io.shipped_bundles import shipped_bundles

SETTINGS = {key: value for key, value in TINY.items() if key != "device"} | {"train#trainer#max_epochs": 1}


def test_the_list_names_each_bundle_once(capsys):
    assert main(["bundles"]) == 0
    listed = capsys.readouterr().out
    assert main(["bundles", "list"]) == 0
    assert capsys.readouterr().out == listed
    first = [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")]
    assert first == [bundle.name for bundle in shipped_bundles()]
    assert max(map(len, listed.splitlines())) <= 100


def test_a_copy_goes_to_bundles_and_says_what_to_type(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bundles", "copy", "weak_2d"]) == 0
    assert "--config_file bundles/weak_2d/configs/train.yaml" in capsys.readouterr().out
    assert (tmp_path / "bundles" / "weak_2d" / "configs" / "train.yaml").is_file()
    assert main(["bundles", "copy", "weak_2d"]) == 2
    assert "--out: 'bundles/weak_2d' is there already" in capsys.readouterr().err
    assert main(["bundles", "copy", "weak_9d"]) == 2
    assert "there is no bundle 'weak_9d'; there are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--config_file", "a.yaml"], ["a.yaml"]),
        (["--x", "1", "--config-file=['a.yaml', 'b.yaml']"], ["a.yaml", "b.yaml"]),
        (["--config_file", "[a.yaml,b.yaml]"], ["a.yaml", "b.yaml"]),
        (["--x", "1"], []),
    ],
)
def test_the_files_that_a_command_names(words, files):
    assert config_files(words) == files


def test_a_file_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "training", "--config_file", "['bundles/weak_2d/configs/train.yaml','mine.yaml']"]) == 2
    assert "there is no file 'bundles/weak_2d/configs/train.yaml'; `wss-monai bundles copy weak_2d` makes it" in (
        capsys.readouterr().err
    )


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of a bundle under another name, in no folder `bundles`."""
    out = tmp_path_factory.mktemp("copied") / "my heart"
    assert main(["bundles", "copy", "acdc_logbarrier", "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_a_copy_trains_evaluates_and_predicts_from_another_folder(copied, tmp_path):
    make_dataset(tmp_path / "data" / "ACDC")
    configs = copied / "configs"
    done = command_here("run", "training", config_file=configs / "train.yaml", cwd=tmp_path, **SETTINGS)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "acdc_logbarrier" / "logbarrier"
    assert (run / "model.pt").is_file()
    files = f"['{configs / 'train.yaml'}','{configs / 'evaluate.yaml'}']"
    done = command_here("run", "evaluating", config_file=files, cwd=tmp_path, **SETTINGS)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "metrics_summary.json").read_text())
    same = {key: SETTINGS[key] for key in ("window", "pixdim", "network_def#features")}
    done = command_here("run", config_file=configs / "inference.yaml", cwd=tmp_path, **same)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs" / "acdc_logbarrier" / "inference").glob("*_seg.nii.gz"))) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs"]


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_where_a_bundle_lies_and_where_its_data_are(kind, copied, tmp_path):
    """A workflow tells it: from the repository, from the bundle's folder, from elsewhere, for a copy."""
    own = ROOT / "bundles" / "acdc_logbarrier"

    def found(config: Path | str, cwd: Path) -> tuple[str, str]:
        with as_if_started(cwd):
            flow = ConfigWorkflow(str(config), logging_file=False, workflow_type=kind.replace("inference", "infer"))
            return self_told(flow, "bundle_root"), self_told(flow, "home")

    assert found(f"bundles/acdc_logbarrier/configs/{kind}.yaml", ROOT) == ("bundles/acdc_logbarrier", "")
    assert found(f"configs/{kind}.yaml", own) == (".", "../../")
    assert found(f"acdc_logbarrier/configs/{kind}.yaml", ROOT / "bundles") == ("acdc_logbarrier", "../")
    assert found(own / "configs" / f"{kind}.yaml", tmp_path) == (str(own), f"{ROOT}/")
    assert found(copied / "configs" / f"{kind}.yaml", tmp_path) == (str(copied), "")
    assert found(f"configs/{kind}.yaml", copied) == (".", "")


def self_told(flow: ConfigWorkflow, name: str) -> str:
    """What a workflow resolves a setting to, as while it runs."""
    flow.parser[f"told_{name}"] = [f"$@{name}"]
    return flow._run_expr(f"told_{name}")[0]


@pytest.mark.slow
def test_create_workflow_from_another_folder(copied, tmp_path):
    data = make_dataset(tmp_path / "data")
    with as_if_started(tmp_path):
        flow = create_workflow(config_file=str(copied / "configs" / "train.yaml"), workflow_type="train",
            dataset_dir=str(data), **TINY)  # fmt: skip
        assert flow.check_properties() == []
        assert os.path.samefile(flow.bundle_root, copied)
        with pytest.raises(Exception) as caught:
            create_workflow(config_file=str(copied / "configs" / "train.yaml"), workflow_type="train",
                dataset_dir=str(data), learning_rte=1)  # fmt: skip
        assert "unknown setting '--learning_rte'; did you mean '--learning_rate'?" in user_error(caught.value)
