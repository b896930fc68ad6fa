# SPDX-License-Identifier: Apache-2.0
"""Somebody else's training loop on the batches of a bundle: fed, scored, and nothing of it left behind."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from this_process import as_if_started
from tiny import ROOT, make_dataset

SCRIPT = """
import argparse
import torch
import torch.optim as optim
from tensorboardX import SummaryWriter
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.utils import make_grid
from dataloaders import utils
from dataloaders.dataset import BaseDataSets, RandomGenerator
from networks.net_factory import net_factory
from utils import losses, metrics
from val_2D import test_single_volume_cct

parser = argparse.ArgumentParser()
parser.add_argument('--max_iterations', type=int)
parser.add_argument('--batch_size', type=int)
parser.add_argument('--base_lr', type=float)
parser.add_argument('--seed', type=int)
args = parser.parse_args()
seen = []


def train(args, folder):
    model = net_factory(net_type='unet_cct', in_chns=1, class_num=4)
    data = BaseDataSets(base_dir='nowhere', split='train', transform=transforms.Compose([RandomGenerator([1, 1])]))
    loader = DataLoader(data, batch_size=args.batch_size, shuffle=True, num_workers=8)
    check = DataLoader(BaseDataSets(base_dir='nowhere', split='val'), batch_size=1)
    optimizer = optim.SGD(model.parameters(), lr=args.base_lr, momentum=0.9, weight_decay=0.0001)
    writer = SummaryWriter(folder)
    model.train()
    for batch in loader:
        image, label = batch['image'].cuda(), batch['label'].cuda()
        seen.append((tuple(image.shape), sorted(label.unique().tolist()), type(optimizer).__name__))
        first, second = model(image)
        loss = losses.loss(first, label) + losses.loss(second, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group['lr'] = 100.0
        writer.add_scalar('loss', loss, 1)
    model.eval()
    assert [test_single_volume_cct(batch['image'], batch['label'], model, classes=4)[0, 0] for batch in check] == [0]
    open(folder + '/seen.txt', 'w').write(repr((seen, len(check), args)))
"""
UNET = """
from torch import nn


class Encoder(nn.Module):
    def __init__(self, params):
        super(Encoder, self).__init__()
        self.params = params
        self.conv = nn.Conv2d(1, params['feature_chns'][0], 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class Decoder(nn.Module):
    def __init__(self, params):
        super(Decoder, self).__init__()
        self.conv = nn.Conv2d(params['feature_chns'][0], params['class_num'], 1)

    def forward(self, x):
        return self.conv(x)


class UNet_CCT(nn.Module):
    def __init__(self, in_chns, class_num):
        super().__init__()
        params = {'feature_chns': [16, 32, 64, 128, 256], 'class_num': class_num}
        self.encoder, self.main_decoder, self.aux_decoder1 = Encoder(params), Decoder(params), Decoder(params)

    def forward(self, x):
        return self.main_decoder(self.encoder(x)), self.aux_decoder1(self.encoder(x))
"""
LOSSES = "import torch\n\n\ndef loss(a, b):\n    return torch.nn.functional.cross_entropy(a, b, ignore_index=4)\n"


@pytest.fixture
def source(tmp_path):
    for name, text in {
        "train_weakly_supervised_segmentation_pCE_ours_proposed.py": SCRIPT,
        "networks/unet.py": UNET,
        "utils/losses.py": LOSSES,
        "utils/metrics.py": "import medpy_is_not_needed\n",
    }.items():
        (file := tmp_path / "source" / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "source"


@pytest.fixture
def start(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import authors_dmpls

    def run(*words):
        monkeypatch.setattr("sys.argv", ["authors_dmpls.py", *map(str, words)])
        with as_if_started(ROOT):
            authors_dmpls.main()

    return run


@pytest.mark.slow
@pytest.mark.parametrize("network", ["theirs", "ours"])
def test_their_loop_runs_on_our_batches_and_is_scored(start, source, tmp_path, capsys, network):
    data = make_dataset(tmp_path / "data", patients=3)
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"test": {"fold1": ["p0"], "fold2": ["p1"]}}))
    cuda, before = (torch.Tensor.cuda, torch.nn.Module.cuda), (set(sys.modules), sys.path[:])
    words = ["--source", source, "--data", data, "--split", split, "--seeds", 3, "--epochs", 1, "--network", network]
    start(*words, "--out", tmp_path / "out")
    folder = tmp_path / "out" / f"dmpls_authors_{network}_s3"
    assert f"| dmpls_authors_{network} | none |" in capsys.readouterr().out
    summary = json.loads((folder / "metrics_summary.json").read_text())
    assert summary["seed"] == 3 and set(summary["dice"]) == {"mean", "RV", "Myo", "LV"}
    seen = (folder / "seen.txt").read_text()
    assert "(8, 1, 96, 96), [0, 1, 2, 3, 4], 'CosineAdam'" in seen and "max_iterations=1, batch_size=8" in seen
    record = json.loads((folder / "run.json").read_text())
    assert network == "ours" or record["parameters"] == (9 + 1) * 8 + 2 * (8 + 1) * 4  # eight features, not sixteen
    assert (torch.Tensor.cuda, torch.nn.Module.cuda) == cuda
    assert not {name for name in set(sys.modules) - before[0] if name.split(".")[0] in ("networks", "dataloaders")}
    assert (folder / "evaluation" / "predictions" / "p0_ED.nii.gz").is_file()
    (folder / "seen.txt").unlink()
    start(*words, "--out", tmp_path / "out")  # a run that is there is not trained again
    assert not (folder / "seen.txt").exists()


def test_a_folder_without_their_script_is_refused(start, tmp_path, capsys):
    with pytest.raises(SystemExit):
        start("--source", tmp_path)
    assert "has no code/train_weakly" in capsys.readouterr().err


def test_the_rate_falls_as_the_bundles_does(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from authors_dmpls import cosine_adam

    weight = torch.nn.Parameter(torch.ones(1))
    adam = cosine_adam(0.002, epochs=4, length=2)([weight], lr=5, momentum=0.9, weight_decay=1)
    rates = []
    for _ in range(8):
        weight.grad = torch.ones(1)
        adam.step()
        rates.append(adam.param_groups[0]["lr"])
        adam.param_groups[0]["lr"] = 7.0  # what a loop writes
    ours = torch.optim.Adam([weight], lr=0.002)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(ours, T_max=4)
    expected = []
    for _ in range(4):
        expected += [ours.param_groups[0]["lr"]] * 2
        ours.step()
        schedule.step()
    assert rates == pytest.approx(expected) and adam.param_groups[0]["weight_decay"] == 0
