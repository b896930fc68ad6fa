# SPDX-License-Identifier: Apache-2.0
"""The network of one run, with the steps before and behind it as the run's evaluation has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, Compose, Invertd
from torch import Tensor, nn

from wss_monai.bundle.memory import memory_format_for
from wss_monai.bundle.user_errors import find_user_error
from wss_monai.functional.plain_tensor import plain_tensor
from wss_monai.functional.transfer import send
from wss_monai.handlers.finite_loss import first_not_finite
from wss_monai.handlers.load_weights import misfit, read_file
from wss_monai.handlers.shift_to_sizes import ShiftToSizes
from wss_monai.prediction.inversion import Inversion, largest
from wss_monai.prediction.run_settings import RunSettings, weights_of

__all__ = ["Member"]

SHIFT = "wss_monai.handlers.ShiftToSizes"


class Member:
    """Predict with the network of a run.

    Args:
        run: its settings.
        weights: "last", "best", or a file.
        device: on which it computes.
        keep_largest: the largest connected component alone, of all classes together and then of each; None: as in the
            run.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: weights of another network, or that are not finite.
    """

    def __init__(self, run: RunSettings, weights: str, device: torch.device, keep_largest: bool | None = None) -> None:
        self.run, self.device = run, device
        self.weights = weights_of(run, weights)
        after, self.sizes = _without_shift(run.postprocessing)
        parser = ConfigParser(
            {
                "network": run.network,
                "inferer": run.inferer,
                "preprocessing": run.preprocessing,
                "postprocessing": _with_files(after, run.folder),
            }
        )
        try:
            self.network: nn.Module = parser.get_parsed_content("network")
            self.inferer: Callable[..., Any] = parser.get_parsed_content("inferer")
            self.before: Compose = parser.get_parsed_content("preprocessing")
            steps = list(parser.get_parsed_content("postprocessing").transforms)
        except Exception as error:  # MONAI's, of whatever a class does not take
            cause = find_user_error(error)
            raise ValueError(f"--run: '{run.folder}' holds settings that cannot be built: {cause}") from error
        _load(self.weights, self.network)
        form = {"channels_last": torch.channels_last, "contiguous_format": torch.contiguous_format}.get(
            run.memory_format, memory_format_for(self.network, device)
        )
        self.network.to(device, memory_format=form).eval()
        self.amp = device.type == "cuda"
        bfloat = self.amp and torch.cuda.is_bf16_supported(including_emulation=False)
        self.amp_dtype = torch.bfloat16 if bfloat or not self.amp else torch.float16
        self.shift: ShiftToSizes | None = None
        if self.sizes is not None:
            told = {key: value for key, value in self.sizes.items() if key != "_target_"}
            self.shift = ShiftToSizes(self.network, [], self.inferer, **told, amp=self.amp, amp_dtype=self.amp_dtype)
            steps.insert(0, self.shift)
        self.solved = self.shift is None
        self._sort(steps, keep_largest)

    def _sort(self, steps: Sequence[Any], keep_largest: bool | None) -> None:
        """Tell the steps on the network's grid, the way to the image's, and those behind the argmax apart."""
        cut = next((n for n, step in enumerate(steps) if isinstance(step, AsDiscreted)), len(steps))
        back = next((n for n, step in enumerate(steps[:cut]) if isinstance(step, Invertd)), None)
        first = list(steps[: cut if back is None else back])
        argmax = cut < len(steps) and all(steps[cut].argmax)
        known = argmax and back in (None, cut - 1) and not any(map(_inverts, first))
        self.has_probabilities = known
        self.on_grid = Compose(first if known else [])
        self.back: Invertd | None = steps[back] if known and back is not None else None
        self.others = Compose([] if known else list(steps[: cut + 1]))
        behind = list(steps[cut + 1 :])
        if keep_largest is not None:
            behind = _keeping(behind, keep_largest, len(self.run.class_names))
        self.behind = Compose(behind)

    def prepare(self, case: Mapping[Any, Any]) -> dict[Any, Any]:
        """Bring a loaded case to the grid of the network."""
        data: dict[Any, Any] = dict(case)
        for step in self.before.transforms[1:]:  # the first one loads
            data = step(data)
        return data

    @torch.no_grad()
    def logits(self, image: MetaTensor, flip: Sequence[int] = ()) -> Tensor:
        """What the network gives, (K, *grid) or as the run's network has it.

        Args:
            image: (C, *grid).
            flip: axes that are mirrored for the network, and back.

        Raises:
            ValueError: it is not finite.
        """
        inputs = send(image[None], self.device) if not flip else send(plain_tensor(image)[None], self.device)
        if flip:
            inputs = inputs.flip([axis + 2 for axis in flip])
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp):
            found = self.inferer(inputs, self.network)
        out = plain_tensor(found)[0]
        if not bool(out.isfinite().all()):
            raise ValueError(
                "the network's output is not finite: look for extreme values in the image, and whether the weights "
                "are those of a training that went well"
            )
        return out.flip([axis + 1 for axis in flip]) if flip else out

    def scores(self, data: Mapping[Any, Any], flip: Sequence[int] = ()) -> Tensor:
        """Logits, or log-probabilities behind a CRF, on the grid of the network (K, *grid), where there are any."""
        logits = MetaTensor(self.logits(data["image"], flip))
        found: Any = self.on_grid({**data, "pred": logits})
        return plain_tensor(found["pred"])

    def probabilities(self, data: Mapping[Any, Any], flips: Sequence[Sequence[int]]) -> Tensor:
        """Mean of the softmax over mirrored images, (K, *grid of the network), float32, on the CPU."""
        total: Any = None
        for flip in flips:
            own = self.scores(data, flip).float().softmax(dim=0)
            total = own if total is None else total + own
        return plain_tensor(total / len(flips)).cpu()

    def inversion(self, data: Mapping[Any, Any], scores: Tensor, shape: Sequence[int]) -> Inversion:
        """The way of scores to the grid of the image (X, Y, Z)."""
        return Inversion(self.back, data, scores, shape)

    def classes(self, data: Mapping[Any, Any], scores: Tensor, shape: Sequence[int]) -> MetaTensor:
        """Class indices on the grid of the image (1, X, Y, Z), as the evaluation of the run gives them.

        Args:
            data: of ``prepare``.
            scores: of ``scores``.
            shape: of the loaded image.
        """
        return self.finished({**data, "pred": largest(self.inversion(data, scores, shape))})

    def thresholded(self, data: Mapping[Any, Any]) -> MetaTensor:
        """What ``classes`` gives, for runs without probabilities."""
        logits = MetaTensor(self.logits(data["image"]))
        found: dict[Any, Any] = {**data, "pred": logits}
        return self.finished(self.others(found))

    def finished(self, data: Any) -> MetaTensor:
        """What comes behind the argmax: the largest component, filled classes."""
        return self.behind(dict(data))["pred"]

    def solve(self, cases: Any) -> None:
        """Find the shift of the classes at which all cases together show the sizes that the run's evaluation stated.

        Args:
            cases: preprocessed, as a sequence.
        """
        if self.shift is not None:
            self.shift.cases = cases
            engine: Any = SimpleNamespace(state=SimpleNamespace(device=self.device))
            self.shift.solve(engine)
            self.shift.cases = []
            self.solved = True


def _without_shift(steps: Any) -> tuple[Any, dict[str, Any] | None]:
    """The steps without the shift to sizes, and what is said of it."""
    if isinstance(steps, Mapping):
        found, shift = {}, None
        for key, value in steps.items():
            found[key], own = _without_shift(value)
            shift = own or shift
        return found, shift
    if isinstance(steps, list):
        shifts = [step for step in steps if isinstance(step, Mapping) and step.get("_target_") == SHIFT]
        pairs = [_without_shift(step) for step in steps if step not in shifts]
        inner = next((shift for _, shift in pairs if shift), None)
        return [step for step, _ in pairs], dict(shifts[0]) if shifts else inner
    return steps, None


def _with_files(steps: Any, folder: Path) -> Any:
    """The steps, files of the run that they name taken from where the folder is now."""
    if isinstance(steps, Mapping):
        return {
            key: str(folder / Path(value).name)
            if key == "threshold" and isinstance(value, str) and value.endswith(".json")
            else _with_files(value, folder)
            for key, value in steps.items()
        }
    return [_with_files(step, folder) for step in steps] if isinstance(steps, list) else steps


def _inverts(step: Any) -> bool:
    return isinstance(step, Invertd) or (isinstance(step, Compose) and any(map(_inverts, step.transforms)))


def _keeping(steps: Sequence[Any], keep: bool, classes: int) -> list[Any]:
    """The steps with or without the largest component."""
    from monai.transforms import KeepLargestConnectedComponentd as Keep

    others = [step for step in steps if not isinstance(step, Keep)]
    labels = list(range(1, classes))
    first = [Keep("pred", applied_labels=labels, independent=own) for own in (False, True)] if keep else []
    return [*first, *others]


def _load(path: Path, network: nn.Module) -> None:
    """Weights of a file into a network."""
    weights = read_file(path, "choose other --weights")
    if isinstance(weights, dict) and "objects" in weights and "format" in weights:
        raise ValueError(f"--weights: {path} is a checkpoint; the weights are in model.pt beside it")
    if not isinstance(weights, Mapping) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"--weights: {path} holds no network's weights")
    if reason := misfit(weights, network):
        raise ValueError(f"--weights: {path} has the weights of another network than the run's: {reason}")
    if name := first_not_finite(weights.items()):
        raise ValueError(f"--weights: {path} holds weights that are not finite ('{name}'): train again")
    network.load_state_dict(weights)
