# SPDX-License-Identifier: Apache-2.0
"""Where published forms are numerically dead or one-sided: `python benchmarks/published_forms.py` prints the numbers.

Losses alone on generated pictures and on networks with random weights, seed 0, float32; seconds on one CPU core.
Nothing is trained. docs/reference/papers.md quotes what this prints.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wss_monai.data.phantoms.toy import Circles, Discs
from wss_monai.functional.descriptors import Centroid, Size
from wss_monai.losses import (
    ClassificationLoss,
    ConstraintLoss,
    CrossModalityEquivarianceLoss,
    EquivariantCAMLoss,
    LocalIICLoss,
    LogBarrierExtension,
    PartialCrossEntropyLoss,
    WithinModalityEquivarianceLoss,
)
from wss_monai.networks import MultiModalCAM, ShallowCNN
from wss_monai.transforms import LabelBounds, RandEquivariantTransform

PICTURES = 10


def gradient(value: Tensor, of: Tensor) -> Tensor:
    """The gradient of a scalar, kept for more."""
    return torch.autograd.grad(value, of, retain_graph=True)[0]


def pictures(toy: Circles | Discs) -> tuple[Tensor, Tensor]:
    """Images (B, 1, W, H) in 0..1 and labels (B, 1, W, H)."""
    made = [toy.picture(0, "train", index) for index in range(PICTURES)]
    image, label = (
        torch.stack([torch.from_numpy(getattr(p, name)) for p in made])[:, None] for name in ("image", "label")
    )
    return image.float() / 255, label


def floor_of_the_logarithm() -> None:
    """Voxels below the floor, and their gradient beside that of the exact form."""
    image, label = pictures(Discs())
    torch.manual_seed(0)
    logits = (5 * 4 * ShallowCNN()(image)).detach().requires_grad_()
    exact, floored = (
        gradient(PartialCrossEntropyLoss(floor=f)(logits, label), logits).abs().amax(1) for f in (0, 1e-10)
    )
    own = torch.softmax(logits, 1).gather(1, label.long())[:, 0]
    dead = own < 1e-10
    share = float(floored[dead].mean() / exact[dead].mean()) if dead.any() else float("nan")
    print(
        f"floor 1e-10: {100 * float(dead.float().mean()):.1f} % of the pixels lie below it at logits of four times "
        "their"
    )
    print(f"  first spread; their gradient is {share:.1e} of the exact form's")


def size_beside_centroid() -> None:
    """Norms of the gradients of both terms of Toy 2, by the published divisor and by scales."""
    image, label = pictures(Circles())
    torch.manual_seed(0)
    logits = (5 * ShallowCNN()(image)).detach().requires_grad_()
    for published in (True, False):
        ratios = []
        for index in range(PICTURES):
            norms = []
            for descriptor, mode, margin in ((Size(), "relative", 0.1), (Centroid(), "relative", 0.1)):
                make = LabelBounds(["background", "circle"], margin, mode, descriptor)
                if not published and descriptor.name == "centroid":
                    make = LabelBounds(["background", "circle"], 20.0, "absolute", descriptor)
                loss = ConstraintLoss(descriptor, LogBarrierExtension(t=1.0), published=published)
                one = logits[index : index + 1]
                norms.append(float(gradient(loss(one, make(label[index])[None]), logits).norm()))
            ratios.append(norms[0] / norms[1])
        form = "divided by the pixels (published)" if published else "divided by scales of their own"
        print(
            f"size / centroid, {form}: the gradient of the size is {min(ratios):.1f} to {max(ratios):.1f} times as "
            "large"
        )


def between_modalities() -> None:
    """Gradients of the parts with respect to the raw maps, by the mean over voxels and by their sum."""
    torch.manual_seed(0)
    image = torch.rand(8, 2, 128, 128)
    network = MultiModalCAM(2, 2, (16, 32, 64, 64), share=0.5, standardize=True)
    view = RandEquivariantTransform("flip")(8, (128, 128), 0)
    with torch.no_grad():
        raw = torch.stack((network(image), network(view(image))))
    raw.requires_grad_()
    target = {"slice_tags": torch.ones(8, 2, dtype=torch.int8), "view": view}
    for reduction in ("mean", "sum"):
        cross = CrossModalityEquivarianceLoss(reduction, "all")
        within = WithinModalityEquivarianceLoss("mean", "all")
        terms = {"classification": (ClassificationLoss(), 1.0), "within": (within, 1.0), "cross": (cross, 1.0)}
        loss = EquivariantCAMLoss(2, terms, 0)
        loss.keep_live = True
        loss(raw, target)
        norms = {name: float(gradient(value, raw).norm()) for name, value in loss.live.items()}
        value = float(loss.parts["cross"])
        print(
            f"between modalities, {reduction} over 128 x 128 voxels: value {value:.1e}, gradient {norms['cross']:.1e}; "
            f"classification {norms['classification']:.1e}, within {norms['within']:.1e}"
        )


def smallest_cell() -> None:
    """What the subtraction of the smallest cell does to the gradient of the local information."""
    for scale in (1.0, 5.0, 20.0):
        torch.manual_seed(0)
        features = torch.randn(4, 16, 56, 56)
        weight = torch.randn(20, 16) / 4 * scale
        maps = torch.einsum("kc,bcxy->bkxy", weight, features)
        p = torch.softmax(maps, 1).requires_grad_()
        q = torch.softmax(maps + 0.1 * scale * torch.randn_like(maps), 1)
        pulls = [gradient(LocalIICLoss(1, subtract_min=flag)(p, q), p).flatten() for flag in (True, False)]
        cosine = float(torch.nn.functional.cosine_similarity(*pulls, dim=0))
        ratio = float(pulls[0].norm() / pulls[1].norm())
        print(f"smallest cell subtracted, logits of spread {scale:g}: gradient x {ratio:.1f}, cosine {cosine:.2f}")


def shrinking_teacher() -> None:
    """What is left of a weight that only shrinks over the published run."""
    print(f"teacher x (1 - 1e-6) at each of 30000 iterations: {(1 - 1e-6) ** 30000:.3f} of a weight is left")


if __name__ == "__main__":
    torch.set_num_threads(1)
    floor_of_the_logarithm()
    size_beside_centroid()
    between_modalities()
    smallest_cell()
    shrinking_teacher()
