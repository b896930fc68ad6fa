# SPDX-License-Identifier: Apache-2.0
"""The summer school's tutorials as their authors wrote them, step by step beside the published overlays.

    git clone https://github.com/LIVIAETS/miccai_weakly_supervised_tutorial somewhere
    python benchmarks/authors_tutorial.py --source somewhere

Their losses, their network and Adam beside ours as ``toy_size/published.yaml`` and ``toy_logbarrier/published.yaml``
build them: from equal weights, on the same generated pictures, one a step. Prints, for each mode, the largest relative
difference of the loss and that of any weight after 30 steps, and the same for ``train.yaml``, without the overlay.
Their quadratic penalty of the second toy is left out: it has an empty slice as shipped. Nothing of the source is copied
or kept.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from grid import ROOT
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from torch import Tensor, nn

from wss_monai.data.phantoms.toy import Circles, Discs

CODE = ("losses", "ShallowNet", "utils")
MODES = {"toy_size": ("full", "unconstrained", "constrained"), "toy_logbarrier": ("logbarrier",)}
TEMPERATURE = 5.0
RATE = 5e-4


@contextlib.contextmanager
def their_modules(source: Path) -> Iterator[dict[str, Any]]:
    """Their losses, network and helpers, importable without torchvision; path and modules are as before afterwards.

    Raises:
        FileNotFoundError: no checkout of their repository.
    """
    code = source / "code"
    if missing := [name for name in CODE if not (code / "utils" / f"{name}.py").is_file()]:
        raise FileNotFoundError(f"{code / 'utils'} has no {missing[0]}.py: give a checkout of their repository.")
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("torchvision", "utils")}
    path = sys.path[:]
    for name in kept:
        del sys.modules[name]
    try:
        sys.modules["torchvision"] = ModuleType("torchvision")
        package = sys.modules["utils"] = ModuleType("utils")
        package.__path__ = [str(code / "utils")]
        yield {name: importlib.import_module(f"utils.{name}") for name in CODE}
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "utils")]:
            del sys.modules[name]
        sys.modules.update(kept)
        sys.path[:] = path


def their_loss(theirs: dict[str, Any], mode: str) -> Callable[[Tensor, dict[str, Tensor]], Tensor]:
    """What their two scripts minimise in a mode, of probabilities (1, 2, W, H) and a picture's targets."""
    losses, helpers = theirs["losses"], theirs["utils"]
    entropy = losses.CrossEntropy(idk=[0, 1] if mode == "full" else [1])
    if mode == "logbarrier":
        terms = [
            losses.ParametrableLogBarrier(idk=[1], function=of) for of in (helpers.soft_size, helpers.soft_centroid)
        ]
        return lambda probs, target: sum(
            term(probs, target[f"bounds_{name}"]) for term, name in zip(terms, ("size", "centroid"), strict=True)
        )
    if mode != "constrained":
        key = "label" if mode == "full" else "weak_label"
        return lambda probs, target: entropy(probs, one_hot(target[key]))
    size = losses.NaiveSizeLoss(idk=[1])
    return lambda probs, target: (
        entropy(probs, one_hot(target["weak_label"])) + size(probs, target["bounds_size"][:, :, 0]).sum() / 100
    )


def one_hot(index: Tensor) -> Tensor:
    """A map (1, 1, W, H) of 0, 1 and 255 as (1, 2, W, H); undrawn pixels are background, as in their files."""
    return torch.cat((index != 1, index == 1), 1).int()


def ours(bundle: str, mode: str, published: bool) -> tuple[nn.Module, nn.Module, Callable[[dict], dict]]:
    """Network, loss and the transform that makes bounds, as the bundle builds them."""
    parser = ConfigParser()
    configs = ROOT / "bundles" / bundle / "configs"
    parser.read_config([str(configs / name) for name in ("train.yaml", *(["published.yaml"] if published else []))])
    parser["mode"] = mode
    return parser.get_parsed_content("network_def"), parser.get_parsed_content("loss"), bounds_of(parser)


def bounds_of(parser: ConfigParser) -> Callable[[dict], dict]:
    """The transforms of all bounds of a bundle, one after the other."""
    return Compose(parser.get_parsed_content("all_bounds"))


def picture(bundle: str, index: int, bounds: Callable[[dict], dict]) -> tuple[Tensor, dict[str, Tensor]]:
    """A picture (1, 1, W, H) in 0..1, and its maps (1, 1, W, H) and bounds (1, 2, M, 2)."""
    made = (Circles() if bundle == "toy_logbarrier" else Discs()).picture(0, "train", index)
    image, label, weak = (torch.from_numpy(np.asarray(part)) for part in (made.image, made.label, made.weak_label))
    case = bounds({"label": MetaTensor(label[None, ..., None], affine=torch.eye(4))})
    found = {key: torch.as_tensor(case[key]).float() for key in case if key.startswith("bounds_")}
    return image[None, None].float() / 255, {"label": label[None, None], "weak_label": weak[None, None], **found}


def compare(theirs: dict[str, Any], bundle: str, mode: str, published: bool, steps: int) -> tuple[float, float]:
    """Greatest relative difference of the losses in so many steps of Adam, and of any weight after them."""
    torch.manual_seed(0)
    original = theirs["ShallowNet"].shallowCNN(1, 4, 2)
    original.apply(theirs["utils"].weights_init)
    network, loss, bounds = ours(bundle, mode, published)
    for own, other in zip(network.parameters(), original.parameters(), strict=True):
        own.data.copy_(other.data.view_as(own))
    cost = their_loss(theirs, mode)
    adams = [torch.optim.Adam(each.parameters(), lr=RATE, betas=(0.9, 0.999)) for each in (original, network)]
    apart = 0.0
    for index in range(steps):
        image, target = picture(bundle, index, bounds)
        values = (cost((TEMPERATURE * original(image)).softmax(1), target), loss(network(image), target))
        for adam, value in zip(adams, values, strict=True):
            adam.zero_grad()
            value.backward()
            adam.step()
        first, second = (float(value.detach()) for value in values)
        apart = max(apart, abs(first - second) / max(abs(first), 1e-12))
    pairs = zip(network.parameters(), original.parameters(), strict=True)
    return apart, max(float((own - other.view_as(own)).detach().abs().max()) for own, other in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="a checkout of the authors' repository")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        with their_modules(options.source) as theirs, contextlib.redirect_stdout(sys.stderr):
            rows = [
                (bundle, mode, form, *compare(theirs, bundle, mode, form == "published.yaml", options.steps))
                for bundle, modes in MODES.items()
                for mode in modes
                for form in ("published.yaml", "train.yaml")
            ]
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"| bundle | mode | configuration | loss, relative | weights after {options.steps} steps |")
    print("|---|---|---|---|---|")
    for *words, loss, weights in rows:
        print("| " + " | ".join(words) + f" | {loss:.1e} | {weights:.1e} |")


if __name__ == "__main__":
    main()
