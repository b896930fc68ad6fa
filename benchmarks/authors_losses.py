# SPDX-License-Identifier: Apache-2.0
"""The losses of three released codes beside ours, on random input: values and gradients.

    git clone https://github.com/jizongFox/MI-based-Regularized-Semi-supervised-Segmentation MI
    git clone https://github.com/halbielee/SEC_pytorch SEC
    git clone https://github.com/gaurav104/WSS-CMER CMER
    python benchmarks/authors_losses.py --mutual_information MI --seed_expand_constrain SEC --cross_modality CMER

Any of the three may be left out. Prints the largest relative difference of the value and of the gradient over ten
draws, in float64 where their code allows it. What their files import and these losses do not need is stubbed while they
are read. Nothing of the sources is copied or kept; for the tutorials see benchmarks/authors_tutorial.py.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from wss_monai.losses import (
    ConstrainToBoundaryLoss,
    CrossModalityEquivarianceLoss,
    ExpansionLoss,
    IICLoss,
    LocalIICLoss,
    SeedingLoss,
)

DRAWS = 10
Loss = Callable[..., Tensor]
Pair = tuple[Loss, Loss, Callable[[], tuple[Tensor, ...]]]
"""Theirs, ours, and what draws their common arguments, of which the first has a gradient."""


@contextlib.contextmanager
def stubbed(modules: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Modules that hold no more than is said, while a file is read; then all modules as before."""
    above = {name.rpartition(".")[0] for name in modules if "." in name}
    names = {name for name in above if name not in sys.modules} | set(modules)
    kept = {name: sys.modules[name] for name in names if name in sys.modules}
    try:
        for name in sorted(names):
            made = sys.modules[name] = ModuleType(name)
            vars(made).update(modules.get(name, {}))
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(kept)


def read(file: Path, stubs: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """Their file as a module.

    Raises:
        FileNotFoundError: it is not there.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: give a checkout of their repository.")
    spec = importlib.util.spec_from_file_location(f"theirs_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{file} cannot be read as Python.")
    module = importlib.util.module_from_spec(spec)
    with stubbed(stubs or {}):
        spec.loader.exec_module(module)
    return module


def probabilities(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Softmax along axis 1 of normal numbers times 3."""
    return (3 * torch.randn(*shape, dtype=dtype)).softmax(1)


def mutual_information(source: Path) -> dict[str, Pair]:
    """Global and local mutual information of two views."""
    theirs = read(
        source / "contrastyou" / "losses" / "iic_loss.py",
        {
            "deepclustering2.utils": {"simplex": lambda probs: True},
            "termcolor": {"colored": lambda text, *words: text},
            "torch._six": {"container_abcs": collections.abc},
            "contrastyou.helper": {"average_iter": lambda values: sum(values) / len(values)},
        },
    )
    both = {"whole": {}, "patches of 32": {"patch_size": 32}}
    local = {"whole": theirs.IIDSegmentationLoss, "patches of 32": theirs.IIDSegmentationSmallPathLoss}
    pairs: dict[str, Pair] = {
        "global mutual information": (
            lambda p, q: theirs.IIDLoss()(p, q)[0],
            IICLoss(),
            lambda: (probabilities(10, 10), probabilities(10, 10)),
        )
    }
    for name, words in both.items():
        theirs_local, ours = local[name](padding=3, **words), LocalIICLoss(padding=3, **words)
        pairs[f"local mutual information, {name}"] = (
            lambda p, q, loss=theirs_local: loss(p, q.requires_grad_()),
            ours,
            lambda: (probabilities(4, 5, 48, 48), probabilities(4, 5, 48, 48)),
        )
    return pairs


def seed_expand_constrain(source: Path) -> dict[str, Pair]:
    """The three losses on maps of 41 x 41 and four classes, of logits."""
    theirs = read(source / "utils" / "util_loss.py", {"krahenbuhl2013": {"CRF": None}})
    soft = theirs.softmax_layer

    def maps() -> Tensor:
        return 2 * torch.randn(3, 4, 41, 41, dtype=torch.float64)

    def cues() -> Tensor:
        drawn = torch.randint(0, 20, (3, 41, 41))
        return torch.stack([drawn == k for k in range(4)], 1).double()

    def tags() -> Tensor:
        there = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 0]], dtype=torch.float64)
        return there[torch.randperm(3)]

    def theirs_constrain(logits: Tensor, q: Tensor) -> Tensor:
        floored = q.clamp(min=theirs.MIN_PROB)
        return theirs.constrain_loss_layer(soft(logits), (floored / floored.sum(1, keepdim=True)).log())

    def ours_constrain(logits: Tensor, q: Tensor) -> Tensor:
        return ConstrainToBoundaryLoss(crf=lambda *words, **more: q)(logits, torch.zeros(3, 1, 41, 41))

    return {
        "seeding": (lambda x, c: theirs.seed_loss_layer(soft(x), c), SeedingLoss(), lambda: (maps(), cues())),
        "expansion, .996 / 0 / .999": (
            lambda x, t: theirs.expand_loss_layer(soft(x), t[:, None, None], 3),
            lambda x, t: ExpansionLoss()(x, t.long()),
            lambda: (maps(), tags()),
        ),
        "constrain to boundary, the CRF given": (
            theirs_constrain,
            ours_constrain,
            lambda: (maps(), maps().softmax(1)),
        ),
    }


def cross_modality(source: Path) -> dict[str, Pair]:
    """The term between two modalities, as one of them has it in both views."""
    file = read(source / "graphs" / "losses" / "CMER_loss.py")
    theirs = file.MapLossL2Norm()
    file.epsilon = theirs.epsilon  # which its forward reads as a global name that the file does not have

    def draw() -> tuple[Tensor, ...]:
        maps = torch.rand(2, 2, 6, 24, 24, dtype=torch.float64)
        return maps[:, 0], maps[:, 1], torch.randint(0, 2, (6,)), *(torch.rand(2, 2, 6) > 0.3)

    def of_theirs(maps1: Tensor, maps2: Tensor, tags: Tensor, correct1: Tensor, correct2: Tensor) -> Tensor:
        total = maps1.new_zeros(())
        for own, other in ((0, 1), (1, 0)):
            for first, second, right in ((maps1, maps2, correct2), (maps2, maps1, correct1)):
                mask = (tags.bool() & right[other]).double()
                total = total + 0.5 * theirs(first[own][:, None], second[other][:, None].detach(), mask)
        return total

    ours = CrossModalityEquivarianceLoss(spatial_reduction="mean", batch_reduction="all")
    return {"between modalities, two modalities": (of_theirs, ours, draw)}


def apart(pair: Pair) -> tuple[float, float]:
    """Largest relative difference of the value, and of the gradient by its norm, over the draws."""
    torch.manual_seed(0)
    theirs, ours, draw = pair
    worst = [0.0, 0.0]
    for _ in range(DRAWS):
        first, *rest = draw()
        results = []
        for loss in (theirs, ours):
            leaf = first.clone().requires_grad_()
            value = loss(leaf, *rest)
            results.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
        for i, (a, b) in enumerate(zip(*results, strict=True)):
            worst[i] = max(worst[i], float((a - b).norm() / a.norm().clamp(min=1e-30)))
    return worst[0], worst[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sources = {each.__name__: each for each in (mutual_information, seed_expand_constrain, cross_modality)}
    for name in sources:
        parser.add_argument(f"--{name}", type=Path, default=None, help="a checkout of the authors' repository")
    given = {name: folder for name, folder in vars(parser.parse_args()).items() if folder}
    if not given:
        parser.error(f"give a checkout of at least one: {', '.join(f'--{name}' for name in sources)}")
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            rows = {name: apart(pair) for of in given for name, pair in sources[of](given[of]).items()}
    except FileNotFoundError as error:
        parser.error(str(error))
    print("| loss | value, relative | gradient, relative |\n|---|---|---|")
    for name, (value, gradient) in rows.items():
        print(f"| {name} | {value:.1e} | {gradient:.1e} |")


if __name__ == "__main__":
    main()
