# SPDX-License-Identifier: Apache-2.0
"""nnU-Net v2 with bounds on sizes and, on demand, pseudo-labels that show the stated sizes of the set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from monai.inferers import SliceInferer, SlidingWindowInferer
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from wss_monai.handlers import AveragedNetwork, Multipliers, SetSize, WeightRamp
from wss_monai.losses import barrier_t
from wss_monai.nnunet.constrained_loss import ConstrainedLoss
from wss_monai.nnunet.constraints_file import Constraints, find_constraints, read_constraints
from wss_monai.nnunet.training_volumes import TrainingVolumes

__all__ = ["nnUNetTrainerConstrained"]

WARMUP = 9.0
"""Of the averaged network, as in the bundles."""
KEY = "wss_monai"
"""Of what this trainer adds to nnU-Net's checkpoints."""


class nnUNetTrainerConstrained(nnUNetTrainer):
    """nnU-Net's trainer with what `constraints.json` says of the sizes of the classes.

    Its loss, with the ignore label and on every output of the deep supervision, stays as it is. Beside it, on the
    output at full resolution: a constraint on sizes between bounds, by the log-barrier, whose t rises over the run, or
    another enforcer, which may have multipliers of each training case; and, where mean volumes are stated,
    pseudo-labels of an averaged network, of which one shift a class makes the sizes of the training set the stated
    ones. See docs/how-to/nnunet.md.

    The file is `constraints.json` beside nnU-Net's `dataset.json`, in `nnUNet_preprocessed` or `nnUNet_raw`.
    Arguments as of `nnUNetTrainer`.

    Raises:
        ValueError: when it is initialised: regions, or a file that cannot be.
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.constraints: Constraints | None = None
        self.average: AveragedNetwork | None = None
        self.set_size: SetSize | None = None
        self.ramp: WeightRamp | None = None
        self.multipliers: Multipliers | None = None
        self.numbers: dict[str, int] = {}
        self.sums: dict[str, Tensor] = {}

    @property
    def class_names(self) -> list[str]:
        """Names of the classes in the order of the logits."""
        labels = {name: value for name, value in self.dataset_json["labels"].items() if name != "ignore"}
        return sorted(labels, key=lambda name: int(labels[name]))

    def initialize(self) -> None:
        """Read the constraints, then what nnU-Net does, then the averaged network."""
        if self.was_initialized:
            super().initialize()  # says that it must not
        if self.label_manager.has_regions:
            raise ValueError(
                "nnUNetTrainerConstrained takes classes that exclude each other, and this data set has regions (labels "
                "that are lists): give each label a class of its own in dataset.json, and preprocess again."
            )
        self.constraints = self._read_constraints()
        if self.constraints.epochs is not None:
            self.num_epochs = self.constraints.epochs
        super().initialize()
        if self.loss.terms is not None and (found := Multipliers(self.loss.terms)).penalties:
            self.multipliers = found
        if self.loss.terms is not None and "pseudo" in self.loss.terms.weights:
            self._add_teacher(self.constraints)

    def _read_constraints(self) -> Constraints:
        from nnunetv2.paths import nnUNet_raw

        name = self.plans_manager.dataset_name
        raw = f"{nnUNet_raw}/{name}" if nnUNet_raw.is_set() else None
        file = find_constraints(self.preprocessed_dataset_folder_base, raw)
        self.print_to_log_file(f"constraints of {file}")
        return read_constraints(file, self.class_names)

    def _build_loss(self) -> nn.Module:
        if self.constraints is None:
            raise ValueError("initialize() reads the constraints, before the loss is built.")
        patch = list(self.configuration_manager.patch_size)
        median = list(self.configuration_manager.median_image_size_in_voxels)[-len(patch) :]
        whole = all(side >= image for side, image in zip(patch, median, strict=True))
        spacing = list(self.configuration_manager.spacing)[-len(patch) :]
        loss = ConstrainedLoss(
            super()._build_loss(), self.constraints, self.class_names, spacing, self.label_manager.ignore_label, whole
        )
        other = self.constraints.volume_bounds if len(patch) == 2 else self.constraints.size_bounds
        if other and not loss.values:
            key, unit = ("size_bounds", "mm2") if len(patch) == 2 else ("volume_bounds", "ml")
            said = f"the configuration {self.configuration_name} reads {key} ({unit}), of which the file has none"
            if loss.terms is None:
                raise ValueError(f"{said}: give them, or choose another configuration.")
            self.print_to_log_file(f"{said}; sizes are not bounded.")
        if loss.values and not whole:
            self.print_to_log_file(f"patches of {patch} do not hold images of {median}: lower bounds are left out.")
        return loss

    def _add_teacher(self, given: Constraints) -> None:
        """The averaged network that makes pseudo-labels with the network, and what solves for the stated sizes."""
        network = self.network.module if self.is_ddp else self.network
        network = getattr(network, "_orig_mod", network)
        self.average = AveragedNetwork(network, warmup=WARMUP)
        if self.enable_deep_supervision:
            self.average.network.decoder.deep_supervision = False  # type: ignore[union-attr]
        self.ramp = WeightRamp(self.loss.terms, "pseudo", given.pseudo_start, given.pseudo_ramp)
        if not given.stated_sizes:
            return
        if self.is_cascaded:
            raise ValueError("stated_sizes cannot act on a cascade: its second network reads what the first predicts.")
        patch = list(self.configuration_manager.patch_size)
        window: dict[str, Any] = {"overlap": 0.25, "mode": "gaussian", "device": torch.device("cpu")}
        slices = SliceInferer(roi_size=patch, spatial_dim=0, sw_batch_size=self.batch_size, **window)
        patches = SlidingWindowInferer(roi_size=patch, sw_batch_size=1, **window)
        self.set_size = SetSize(
            self.average.network,
            self.loss.terms,
            TrainingVolumes(self, self.class_names, given.stated_sizes),
            slices if len(patch) == 2 else patches,
            self.class_names,
            slice_axis=0,
            count=given.set_size_count,
            amp=self.device.type == "cuda",
            amp_dtype=torch.float16,
        )

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """nnU-Net's augmentation; the bounds are widened by what its zoom does to sizes, or there is no zoom."""
        transforms = super().get_training_transforms(*args, **kwargs)
        spatial = [each for each in transforms.transforms if isinstance(each, SpatialTransform)]
        for each in spatial:
            if self.constraints is not None and not self.constraints.zoom:
                each.p_scaling = 0.0
        zooms = [each for each in spatial if each.p_scaling > 0]
        if zooms and isinstance(self.loss, ConstrainedLoss):
            dimensions = len(zooms[0].patch_size)
            least, most = zooms[0].scaling  # of the grid: more of it makes an organ smaller
            self.loss.widen(float(most) ** -dimensions, float(least) ** -dimensions)
        if isinstance(self.loss, ConstrainedLoss) and self.loss.values:
            shown = {name: [side and round(side, 3) for side in pair] for name, pair in self.loss.bounds().items()}
            self.print_to_log_file(f"bounds in {self.loss.unit}: {self.loss.values}, with augmentation {shown}")
        return transforms

    def on_train_epoch_start(self) -> None:
        """Set t and the weight of the pseudo-labels, and solve for the stated sizes."""
        super().on_train_epoch_start()
        self.sums = {}
        if self.loss.terms is None:
            return
        epoch = self.current_epoch + 1
        self.loss.terms.set_t(barrier_t(epoch, self.num_epochs))
        if self.ramp is not None:
            for name, full in self.ramp.full.items():
                self.loss.terms.weights[name] = full * self.ramp.share(epoch, self.num_epochs)
        if self.set_size is not None and self.loss.terms.weights["pseudo"] > 0:
            self.set_size.solve(epoch, self.device)
            self.loss.shift = self.set_size.shift.to(self.device)

    def _case_numbers(self) -> dict[str, int]:
        """Training cases of the fold -> their numbers, by which multipliers know them."""
        if not self.numbers:
            self.numbers = {str(case): number for number, case in enumerate(self.do_split()[0])}
        return self.numbers

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One step of nnU-Net's, for which the averaged network is asked before; it moves the multipliers."""
        if self.multipliers is not None:
            numbers = self._case_numbers()
            self.loss.cases = len(numbers)
            self.loss.sample = torch.tensor([numbers[str(case)] for case in batch["keys"]])
        if self.average is not None and self.loss.terms.weights["pseudo"] > 0:
            batch = {**batch, "data": batch["data"].to(self.device, non_blocking=True)}
            self.loss.teacher = self._ask(self.average.network, batch["data"])
        result: dict[str, Any] = super().train_step(batch)
        self.loss.teacher = self.loss.sample = None
        if self.multipliers is not None:
            self.multipliers.update()
        if self.average is not None:
            self.average.update()
        if self.loss.terms is not None:
            now = {**self.loss.terms.parts}
            now |= {f"violation_{name}": value for name, value in self.loss.terms.violations.items()}
            for name, value in now.items():
                self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        return result

    @torch.no_grad()
    def _ask(self, network: nn.Module, data: Tensor) -> Tensor:
        """Probabilities (B, K, *spatial) of patches (B, C, *spatial), float32."""
        with torch.autocast(data.device.type, enabled=data.device.type == "cuda"):
            logits = network(data)
        return torch.softmax(logits.float(), 1)

    def on_train_epoch_end(self, train_outputs: Sequence[dict[str, Any]]) -> None:
        """Write means of our terms into nnU-Net's log."""
        super().on_train_epoch_end(list(train_outputs))
        if self.multipliers is not None:
            self.multipliers.share()
        if not self.sums:
            return
        means = {name: float(value) / max(1, len(train_outputs)) for name, value in self.sums.items()}
        if self.loss.terms.t is not None:
            means["t"] = self.loss.terms.t
        if self.multipliers is not None:
            means |= {name: float(value) for name, value in self.multipliers.logged.items()}
        if self.set_size is not None and self.set_size.solved:
            for k, name in enumerate(self.class_names):
                if math.isfinite(float(self.set_size.before[k])):
                    means[f"set_size_{name}"] = float(self.set_size.before[k])
                    means[f"set_shift_{name}"] = float(self.set_size.shift[k])
        self.print_to_log_file("  ".join(f"{name}={value:.4g}" for name, value in means.items()))

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint, with averaged network, shift and multipliers in it, as far as there are any."""
        super().save_checkpoint(filename)
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        ours: dict[str, Any] = {}
        if self.average is not None:
            ours["average"] = self.average.state_dict()
        if self.set_size is not None:
            ours["set_size"] = self.set_size.state_dict()
        if self.multipliers is not None:
            rows = {term: each.get_extra_state() for term, each in self.multipliers.penalties.items()}
            ours["multipliers"] = {"cases": list(self._case_numbers()), "rows": rows}
        if ours:
            checkpoint = torch.load(filename, map_location="cpu", weights_only=False)
            torch.save({**checkpoint, KEY: ours}, filename)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Go on from a checkpoint of this trainer, or take the weights of another one of nnU-Net's."""
        checkpoint = filename_or_checkpoint
        if isinstance(checkpoint, str):
            checkpoint = torch.load(checkpoint, map_location=self.device, weights_only=False)
        if not self.was_initialized:
            self.initialize()
        super().load_checkpoint(filename_or_checkpoint)
        ours = checkpoint.get(KEY)
        if self.multipliers is not None and ours is not None and "multipliers" in ours:
            self._load_multipliers(self.multipliers, ours["multipliers"])
        if self.average is None:
            return
        if ours is None or "average" not in ours:  # weights alone, as of another trainer of nnU-Net's
            self.average.network.load_state_dict(self.average.source.state_dict())
            return
        self.average.load_state_dict(ours["average"])
        if self.set_size is not None and "set_size" in ours:
            state = {
                key: value.cpu() if isinstance(value, Tensor) else value for key, value in ours["set_size"].items()
            }
            self.set_size.load_state_dict(state)
            self.loss.shift = self.set_size.shift.to(self.device)

    def _load_multipliers(self, multipliers: Multipliers, saved: dict[str, Any]) -> None:
        """Go on with saved multipliers, which belong to the training cases of the fold by number."""
        if saved["cases"] != list(self._case_numbers()):
            self.print_to_log_file(
                "the checkpoint's multipliers are those of other training cases (another fold, or a changed "
                "splits_final.json): they start anew."
            )
            return
        for term, penalty in multipliers.penalties.items():
            if term in saved["rows"]:
                penalty.set_extra_state({name: rows.cpu() for name, rows in saved["rows"][term].items()})
