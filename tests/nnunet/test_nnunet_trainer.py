# SPDX-License-Identifier: Apache-2.0
"""nnU-Net itself with our trainer: it is found by its name, trains some iterations on the CPU, and goes on."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from tiny import make_dataset

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed (extra nnunet)")

from wss_monai.nnunet import TRAINERS
from wss_monai.nnunet.export import export_nnunet

NAME = "Dataset501_Discs"
BOUNDS = {"size_bounds": {"LV": [20, 600]}, "volume_bounds": {"LV": [1, 20]}}
SETS = {"stated_sizes": {"LV": 2.5, "RV": 6.0}, "pseudo_start": 0.0, "pseudo_ramp": 0.0, "set_size_count": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """nnU-Net's folders with the discs planned and preprocessed, in this process: its own commands start several."""
    folder = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            patch.setenv(f"nnUNet_{name}", str(folder / name))
            (folder / name).mkdir()
        patch.setenv("nnUNet_n_proc_DA", "1")
        patch.setenv("nnUNet_compile", "f")
        patch.setenv("nnUNet_extTrainer", TRAINERS)
        patch.delenv("WSS_MONAI_CONSTRAINTS", raising=False)
        export_nnunet(make_dataset(folder / "discs", patients=6), folder / "raw" / NAME)
        prepare(folder)
        patch.setenv("nnUNet_n_proc_DA", "0")
        yield folder / "preprocessed" / NAME


def prepare(folder):
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

    raw, done = folder / "raw" / NAME, folder / "preprocessed" / NAME
    done.mkdir()
    files = get_filenames_of_train_images_and_targets(str(raw))
    images = [SimpleITKIO().read_images(each["images"]) for each in files.values()]
    numbers = ("mean", "median", "std", "min", "max", "percentile_99_5", "percentile_00_5")
    fingerprint = {
        "spacings": [[float(step) for step in about["spacing"]] for _, about in images],
        "shapes_after_crop": [list(image.shape[1:]) for image, _ in images],
        "foreground_intensity_properties_per_channel": {"0": dict.fromkeys(numbers, 1.0)},
        "median_relative_size_after_cropping": 1.0,
    }
    (done / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    plans = PlansManager(ExperimentPlanner(501).plan_experiment())
    content = json.loads((done / "dataset.json").read_text())
    for name in ("2d", "3d_fullres"):
        configuration = plans.get_configuration(name)
        target = done / configuration.data_identifier
        target.mkdir()
        for case, each in files.items():
            DefaultPreprocessor(verbose=False).run_case_save(
                str(target / case), each["images"], each["label"], plans, configuration, content
            )


def trainer_of(home, configuration="2d", **content):
    from nnunetv2.run.run_training import get_trainer_from_args

    (home / "constraints.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    np.random.seed(0)
    trainer = get_trainer_from_args("501", configuration, 0, "nnUNetTrainerConstrained", device=torch.device("cpu"))
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 1
    return trainer


def log_of(trainer):
    with open(trainer.log_file, encoding="utf-8") as file:
        return file.read()


@pytest.mark.filterwarnings("ignore")
def test_two_iterations_an_epoch_with_bounds_and_sizes_of_the_set(home, tmp_path):
    trainer = trainer_of(home, epochs=2, **BOUNDS, **SETS)
    trainer.run_training()
    said = log_of(trainer)
    assert "bounds in mm2: {'LV': [20, 600]}" in said
    assert trainer.loss.zoom == pytest.approx((1.4**-2, 0.7**-2))
    rows = [line for line in said.splitlines() if "violation_size=" in line]
    assert len(rows) == 2
    assert "t=5 " in rows[0]
    assert "t=586" in rows[1] or "t=587" in rows[1]
    assert all(word in rows[1] for word in ("pseudo=", "set_size_LV=", "set_shift_RV="))
    assert "set_size_Myo" not in said
    shift = trainer.loss.shift
    assert shift[0] == 0
    assert bool(shift[[1, 3]].abs().max() > 0)

    saved = shutil.copy(f"{trainer.output_folder}/checkpoint_final.pth", tmp_path / "final.pth")
    again = trainer_of(home, epochs=3, **BOUNDS, **SETS)
    again.load_checkpoint(str(saved))
    assert again.current_epoch == 2
    assert torch.equal(again.loss.shift, shift)
    mine, its = (each.average.averaged.state_dict() for each in (again, trainer))
    assert all(torch.equal(mine[key], its[key]) for key in its)
    student = trainer.network.state_dict()
    assert any(not torch.equal(its[f"module.{key}"], student[key]) for key in student)
    again.run_training()
    assert again.current_epoch == 3
    assert "t=587" in log_of(again)


def step_of(trainer):
    """One step on a batch that is the same for all."""
    R = np.random.RandomState(3)
    size, patch = trainer.batch_size, trainer.configuration_manager.patch_size
    cases = trainer.do_split()[0]
    data = torch.from_numpy(R.randn(size, 1, *patch).astype(np.float32))
    index = torch.full((size, 1, *patch), 4.0)
    index[..., 10:20, 10:20] = 3
    scales = trainer._get_deep_supervision_scales() or [[1.0] * len(patch)]
    targets = [torch.nn.functional.interpolate(index, scale_factor=scale, mode="nearest") for scale in scales]
    batch = {"data": data, "target": targets if trainer.enable_deep_supervision else targets[0]}
    trainer.network.train()
    return float(trainer.train_step({**batch, "keys": [cases[i % len(cases)] for i in range(size)]})["loss"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("enforcer", "settings"),
    [("primal_dual", {"rate": 0.5}), ("augmented_lagrangian", {}), ("primal_dual", {"per": "set", "rate": 0.1})],
)
def test_multipliers_go_on_from_the_checkpoint(home, tmp_path, enforcer, settings):
    said = {"size_bounds": {"LV": [1, 30]}, "enforcer": enforcer, "enforcers": {enforcer: settings}, "size_weight": 1.0}
    trainer = trainer_of(home, epochs=2, **said)
    trainer.run_training()
    assert "multiplier_size=" in log_of(trainer)
    rows = trainer.multipliers.penalties["size"].rows
    assert float(rows["multiplier"].max()) > 0
    if settings.get("per") == "set":
        assert len(rows["multiplier"]) == 1

    trainer.save_checkpoint(str(tmp_path / "now.pth"))
    again = trainer_of(home, epochs=2, **said)
    again.load_checkpoint(str(tmp_path / "now.pth"))
    mine = again.multipliers.penalties["size"].rows
    assert set(mine) == set(rows) and all(torch.equal(mine[name], rows[name]) for name in rows)
    again.loss.widen(*trainer.loss.zoom)  # as its data loaders would
    assert step_of(again) == step_of(trainer)
    for name, value in trainer.multipliers.penalties["size"].rows.items():
        assert torch.equal(again.multipliers.penalties["size"].rows[name], value)

    saved = torch.load(tmp_path / "now.pth", weights_only=False)
    saved["wss_monai"]["multipliers"]["cases"].reverse()
    torch.save(saved, tmp_path / "other.pth")
    other = trainer_of(home, epochs=2, **said)
    other.load_checkpoint(str(tmp_path / "other.pth"))
    assert not other.multipliers.penalties["size"].rows and "of other training cases" in log_of(other)


@pytest.mark.filterwarnings("ignore")
def test_volumes_in_3d_and_no_zoom(home):
    trainer = trainer_of(home, "3d_fullres", epochs=1, zoom=False, **BOUNDS, **SETS)
    trainer.run_training()
    said = log_of(trainer)
    assert "bounds in ml: {'LV': [1, 20]}, with augmentation {'LV': [1.0, 20.0]}" in said
    assert "violation_size=" in said
    assert math.isfinite(float(trainer.set_size.before[3]))


@pytest.mark.filterwarnings("ignore")
def test_what_it_refuses(home):
    with pytest.raises(ValueError, match=r"configuration 2d reads size_bounds \(mm2\)"):
        trainer_of(home, volume_bounds={"LV": [1, 20]}).initialize()
    with pytest.raises(ValueError, match=r"constraints.json.*Aorta"):
        trainer_of(home, size_bounds={"Aorta": [1, 20]}).initialize()
    trainer = trainer_of(home, **BOUNDS)
    trainer.label_manager._has_regions = True
    with pytest.raises(ValueError, match="regions"):
        trainer.initialize()
    trainer = trainer_of(home, **BOUNDS)
    (home / "constraints.json").unlink()
    with pytest.raises(FileNotFoundError, match="there is no such file: write one"):
        trainer.initialize()


def test_augmented_discs_keep_the_widened_bounds():
    """Of organs in the middle of a patch; what nnU-Net's zoom and rotation make of their size."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    transforms = nnUNetTrainer.get_training_transforms((64, 64), (-math.pi, math.pi), None, (0, 1), False)
    x, y = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    disc = (((x - 48) ** 2 + (y - 50) ** 2) < 12**2).to(torch.int16)[None]
    np.random.seed(0)
    torch.manual_seed(0)
    ratios = []
    for _ in range(150):
        out = transforms(image=disc.float(), segmentation=disc.clone())
        ratios.append(float((out["segmentation"] == 1).sum() / (disc == 1).sum()))
    inside = [1.4**-2 * 0.98 <= ratio <= 0.7**-2 * 1.02 for ratio in ratios]
    assert all(inside)
    assert min(ratios) < 0.7
    assert max(ratios) > 1.3
