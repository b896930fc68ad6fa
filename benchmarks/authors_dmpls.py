# SPDX-License-Identifier: Apache-2.0
"""DMPLS (Luo et al., MICCAI 2022) as its authors trained it: their own loop and losses, on our slices.

    git clone https://github.com/HiLab-git/WSL4MIS somewhere
    python benchmarks/authors_dmpls.py --source somewhere --data data/ACDC --split benchmarks/splits/acdc40.json

Says whether our arm of that name is a straw man. ``train`` of their script runs as it stands, losses, pseudo-labels,
random share and all. What it imports for data, logs and validation is replaced while it runs: it is fed the batches of
bundle acdc_logbarrier with the overlay cpu.yaml, augmented as there, in the same order for the same seed, and
``.cuda()`` does nothing. Its network is theirs with the features of cpu.yaml (``--network ours``: our U-Net with a
second decoder), its optimiser Adam with the bundle's rate and schedule, since theirs (``--optimizer theirs``: SGD, rate
.01) needs far more iterations. The last weights' main decoder is scored as our arms are. Nothing of the source is
copied or kept.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import monai
import numpy as np
import torch
from grid import FACTS, ROOT, add_grid_options, fold_settings, git_commit, out_folder, run_facts, scored_fold, show
from monai.bundle import ConfigParser
from torch import Tensor, nn

from wss_monai.functional import UNLABELLED
from wss_monai.networks import DualDecoder

SCRIPT = "train_weakly_supervised_segmentation_pCE_ours_proposed"
CONFIGS = ROOT / "bundles" / "acdc_logbarrier" / "configs"
THEIR_UNLABELLED = 4
STUBBED = ("tensorboardX", "torchvision", "dataloaders", "networks", "utils", "val_2D")


def bundle(options: argparse.Namespace, seed: int, out: Path, *more: str) -> ConfigParser:
    """The bundle with cpu.yaml and further overlays, on the fold and with the seed of a run."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.yaml", "cpu.yaml", *more)])
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in fold_settings(options).items()}
    if not more:
        settings.pop("evaluate_on", None)
    settings |= {"mode": "partial", "seed": seed, "epoch_iterations": None, "output_dir": str(out), "quiet": True}
    settings |= {"device": "cpu", "keep_largest": False} if more else {"device": "cpu"}
    if options.epochs:
        settings["max_epochs"] = options.epochs
    for key, value in settings.items():
        parser[key] = value
    parser["device"] = torch.device("cpu")
    return parser


class Batches:
    """The batches of a bundle, epoch after epoch, as their loop reads them: 4 stands for unlabelled.

    Args:
        parser: of the bundle.
    """

    def __init__(self, parser: ConfigParser) -> None:
        self.loader = parser.get_parsed_content("train#dataloader")
        self.prepare = parser.get_parsed_content("train#trainer#prepare_batch")
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.epoch += 1
        self.loader.set_epoch(self.epoch)
        for batch in self.loader:
            image, target = self.prepare(batch, torch.device("cpu"))
            drawn = target["weak_label"][:, 0].long()
            yield {"image": image, "label": drawn.masked_fill(drawn == UNLABELLED, THEIR_UNLABELLED)}


def cosine_adam(rate: float, epochs: int, length: int) -> Callable[..., torch.optim.Optimizer]:
    """What makes an Adam whose rate falls from epoch to epoch as the bundle's, whatever their loop writes into it."""

    class CosineAdam(torch.optim.Adam):
        taken = 0

        def step(self, closure: Any = None) -> Any:
            share = (self.taken // length) / epochs
            for group in self.param_groups:
                group["lr"] = rate * (1 + math.cos(math.pi * share)) / 2
            self.taken += 1
            return super().step(closure)

    return lambda weights, **theirs: CosineAdam(weights, lr=rate)


@contextlib.contextmanager
def their_code(source: Path, words: list[str]) -> Iterator[ModuleType]:
    """The module of their script, importable without its requirements and without a GPU.

    Modules, path, command line and ``cuda`` are as before afterwards.

    Args:
        source: a checkout of their repository.
        words: of their command line.
    """
    code = source / "code"
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in (*STUBBED, SCRIPT)}
    path, argv, cuda = sys.path[:], sys.argv, (torch.Tensor.cuda, nn.Module.cuda)
    for name in kept:
        del sys.modules[name]
    try:
        for name in ("dataloaders", "networks", "utils"):
            package(name, code / name)
        nothing = SimpleNamespace
        module("tensorboardX", SummaryWriter=lambda *words: Silent())
        module("torchvision", transforms=nothing(Compose=lambda steps: None)).__path__ = []
        module("torchvision.utils", make_grid=None)
        module("dataloaders.utils")
        module("dataloaders.dataset", BaseDataSets=nothing, RandomGenerator=lambda size: None)
        module("networks.net_factory", net_factory=None)
        module("utils.metrics")
        module("val_2D", test_single_volume_cct=no_scores, test_single_volume_ds=no_scores)
        sys.path.insert(0, str(code))
        sys.argv = [SCRIPT, *words]
        torch.Tensor.cuda = nn.Module.cuda = lambda self, *words, **more: self  # type: ignore[method-assign]
        yield importlib.import_module(SCRIPT)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in (*STUBBED, SCRIPT)]:
            del sys.modules[name]
        sys.modules.update(kept)
        sys.path[:], sys.argv = path, argv
        torch.Tensor.cuda, nn.Module.cuda = cuda  # type: ignore[method-assign]


def module(name: str, **content: Any) -> ModuleType:
    """A module that was not read from a file."""
    made = ModuleType(name)
    vars(made).update(content)
    sys.modules[name] = made
    above, _, own = name.rpartition(".")
    if above:
        setattr(sys.modules[above], own, made)
    return made


def package(name: str, folder: Path) -> None:
    """A package of their files, under its own name even where another one is installed."""
    module(name).__path__ = [str(folder)]


class Silent:
    """Takes whatever is logged."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *words, **more: None


def no_scores(*words: Any, **more: Any) -> np.ndarray:
    """Dice and HD95 of their validation, which chooses nothing here."""
    return np.zeros((3, 2))


def their_network(features: list[int], classes: int) -> nn.Module:
    """Their network with two decoders, its levels as wide as ours."""
    unet: Any = importlib.import_module("networks.unet")
    made: nn.Module = unet.UNet_CCT(in_chns=1, class_num=classes)
    params = {**made.encoder.params, "feature_chns": features}
    made.encoder = unet.Encoder(params)
    made.main_decoder, made.aux_decoder1 = unet.Decoder(params), unet.Decoder(params)
    return made


class Main(nn.Module):
    """The first of the predictions of a network with two decoders."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, *spatial)."""
        out = self.network(images)
        logits: Tensor = out if isinstance(out, Tensor) else out[0]
        return logits


def train(options: argparse.Namespace, seed: int, out: Path) -> nn.Module:
    """Run their loop on our batches; returns the network with its last weights."""
    parser = bundle(options, seed, out)
    monai.utils.set_determinism(seed=seed)
    batches = Batches(parser)
    epochs, rate = int(parser.get_parsed_content("max_epochs")), float(parser.get_parsed_content("learning_rate"))
    features = list(parser.get_parsed_content("network_def#features"))
    words = {"max_iterations": epochs * len(batches), "batch_size": parser.get_parsed_content("batch_size")}
    words |= {"seed": seed, "base_lr": 0.01 if options.optimizer == "theirs" else rate}
    with their_code(
        options.source, [str(part) for key, value in words.items() for part in (f"--{key}", value)]
    ) as code:
        if options.network == "ours":
            network: nn.Module = DualDecoder(parser.get_parsed_content("network_def"), dropout=0.5)
        else:
            network = their_network(features[:5], len(parser.get_parsed_content("class_names")))
        network = network.to(memory_format=torch.channels_last)
        theirs: Any = code
        theirs.net_factory = lambda **words: network
        theirs.DataLoader = lambda data, **words: batches if data.split == "train" else [{"image": 0, "label": 0}]
        theirs.BaseDataSets = Patients
        if options.optimizer == "ours":
            theirs.optim = SimpleNamespace(SGD=cosine_adam(rate, epochs, len(batches)))
        random.seed(seed)
        theirs.train(theirs.args, str(out))
    record = {"class_names": parser.get_parsed_content("class_names"), "mode": "authors' DMPLS", "device": "CPU"}
    record |= {"parameters": sum(weight.numel() for weight in network.parameters())}
    record |= {"max_epochs": epochs, "iterations_per_epoch": len(batches)}
    (out / "run.json").write_text(json.dumps(record) + "\n")
    return network


class Patients:
    """What their loader is made from: here only which part it is."""

    def __init__(self, split: str = "train", **more: Any) -> None:
        self.split = split

    def __len__(self) -> int:
        return 1


def evaluate(options: argparse.Namespace, network: nn.Module, seed: int, out: Path) -> None:
    """Score the main decoder as the bundle's evaluation does."""
    parser = bundle(options, seed, out, "evaluate.yaml")
    torch.save(network.state_dict(), out / "model.pt")
    parser["validate#handlers#0#_disabled_"] = True  # which loads weights of the bundle's own network
    parser["validate#evaluator#network"] = "@scored"
    parser["scored"] = Main(network).eval()
    parser.get_parsed_content("validate#evaluator").run()


def run_one(options: argparse.Namespace, seed: int, out: Path) -> dict:
    """Train and score in a folder, unless its summary is there already."""
    summary = out / "metrics_summary.json"
    if not summary.is_file():
        out.mkdir(parents=True, exist_ok=True)
        started, used = time.perf_counter(), time.process_time()
        network = train(options, seed, out)
        used = time.process_time() - used
        evaluate(options, network, seed, out)
        facts = {"commit": git_commit(), "seconds": round(time.perf_counter() - started, 1)}
        (out / FACTS).write_text(json.dumps(facts | {"cpu_seconds": round(used, 1)}) + "\n")
    fold = scored_fold(fold_settings(options))
    return json.loads(summary.read_text()) | {"run": run_facts(out) | {"fold": fold}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="a checkout of HiLab-git/WSL4MIS")
    add_grid_options(parser, "data/ACDC", "acdc40.json")
    parser.add_argument("--network", choices=("theirs", "ours"), default="theirs")
    parser.add_argument("--optimizer", choices=("ours", "theirs"), default="ours")
    parser.add_argument("--epochs", type=int, default=None, help="instead of cpu.yaml's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out, name = out_folder(options, "authors_dmpls"), f"dmpls_authors_{options.network}"
    name += "_sgd" if options.optimizer == "theirs" else ""
    if not (options.source / "code" / f"{SCRIPT}.py").is_file():
        parser.error(f"--source: '{options.source}' has no code/{SCRIPT}.py; give a checkout of HiLab-git/WSL4MIS")
    results = {name: [run_one(options, seed, out / f"{name}_s{seed}") for seed in options.seeds]}
    show(results, options.csv or out / f"{name}.csv", facts_too=("weights", "iterations", "cpu_seconds"))


if __name__ == "__main__":
    main()
