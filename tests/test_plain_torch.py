# SPDX-License-Identifier: Apache-2.0
"""The code of docs/how-to/plain-torch.md, as it stands there."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ROOT
from torch._dynamo import reset
from torch._dynamo.testing import CompileCounter
from torch.utils.data import DataLoader

from wss_monai.handlers import BarrierSchedule

PAGE = ROOT / "docs" / "how-to" / "plain-torch.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def code() -> dict[str, Any]:
    """What the first block of the page defines."""
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    return names


def test_the_losses_import_torch_alone():
    told = "import sys, wss_monai.losses; print([n for n in ('monai', 'ignite', 'nibabel') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_the_loop_finds_the_disc(code, capsys):
    exec(blocks("python")[1], code)
    assert "outside of the bounds by 0.0\n" in capsys.readouterr().out
    with torch.no_grad():
        batch = code["make_batch"](seed=9)
        found = code["network"](batch["image"]).argmax(1, keepdim=True)
    truth = batch["image"].mean(0) > 0.5
    assert truth.sum() == 81
    assert 2 * (found[0] * truth).sum() / (found[0].sum() + truth.sum()) > 0.9


def test_t_is_that_of_the_bundles(code):
    schedule = BarrierSchedule(torch.nn.Identity())
    for epoch in (0, 7, 19):
        assert code["barrier_t"](epoch + 1, 20) == pytest.approx(schedule.t(epoch + 1, 20))


def test_lightning_trains_logs_and_goes_on(code, tmp_path):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    exec(blocks("python")[2], code)
    batches = DataLoader([code["make_batch"](seed) for seed in range(3)], batch_size=None)
    settings = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}

    def trainer(epochs: int) -> Any:
        return lightning.Trainer(max_epochs=epochs, default_root_dir=tmp_path, log_every_n_steps=1, **settings)

    module = code["Segmentation"]()
    first = trainer(4)
    first.fit(module, batches)
    assert module.loss.t == pytest.approx(code["barrier_t"](4, 4))
    logged = {name: float(value) for name, value in first.logged_metrics.items()}
    assert {*logged} == {"loss_partial", "loss_size", "violation_size"}
    assert logged["loss_partial"] == pytest.approx(float(module.loss.parts["partial"]))
    first.save_checkpoint(tmp_path / "four.ckpt")
    again = code["Segmentation"]()
    again.load_state_dict(torch.load(tmp_path / "four.ckpt", weights_only=True)["state_dict"])
    assert again.loss.t == module.loss.t
    second = trainer(6)
    second.fit(code["Segmentation"](), batches, ckpt_path=tmp_path / "four.ckpt", weights_only=False)
    assert second.current_epoch == 6


def test_hydra_makes_the_loss_of_the_page(code, tmp_path, monkeypatch):
    pytest.importorskip("hydra", reason="hydra-core is not installed")
    (tmp_path / "loss.yaml").write_text(blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[3], code)
    batch = code["make_batch"]()
    logits = code["make_network"]()(batch["image"])
    assert torch.equal(code["loss"](logits, batch), code["make_loss"]()(logits, batch))


def test_the_sum_of_the_page_is_compiled_once(code, monkeypatch):
    reset()
    counter = CompileCounter()
    code["loss"] = code["make_loss"]()
    (block,) = (text for text in blocks("python") if "torch.compile" in text)
    exec(block.replace("fullgraph=True", "fullgraph=True, backend=counter"), code | {"counter": counter}, code)
    batch, network = code["make_batch"](), code["make_network"]()
    for epoch in range(10):
        code["loss"].set_t(code["barrier_t"](epoch + 1, 10))
        logits = network(batch["image"])
        assert torch.equal(code["compiled"](logits, batch), code["loss"](logits, batch))
    assert counter.frame_count == 1
    reset()


def test_the_table_names_what_the_losses_take(code):
    rows = re.findall(r"^\| `(\w+)`.*\| the same", PAGE.read_text(encoding="utf-8"), re.M)
    known = inspect.signature(code["PartialDiceCELoss"]).parameters
    assert {"ignore_index", "reduction", "include_background", "lambda_dice"} == set(rows) <= set(known)


def test_the_page_is_tested_whole():
    assert (len(blocks("python")), len(blocks("yaml"))) == (5, 1)
    assert Path(__file__).name in PAGE.read_text(encoding="utf-8")
