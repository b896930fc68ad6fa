# SPDX-License-Identifier: Apache-2.0
"""The picture of semi-supervision in docs: clusters of a generated heart under two views, Dice of each mode.

    python -m wss_monai synthesize cardiac --out data/PHANTOM
    python benchmarks/picture_mutual_information.py

Two labelled patients, drawn with split seed 0, the other training patients without labels, training seed 0; Dice is
that of four validation patients. Clusters are those of the first head of each local feature after the last epoch of
udaiic, in a slice of the first validation patient, whom training never saw. Runs that are there are drawn as they are.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from grid import ROOT, run_bundle
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from PIL import Image

from wss_monai.report.cluster_sheet import cluster_sheet
from wss_monai.report.curves import curve_points
from wss_monai.report.panels import display_view, shown_slices
from wss_monai.report.run_folder import read_runs
from wss_monai.transforms import RandFlips

BUNDLE = "acdc_mutual_information"
MODES = ("partial", "entropy", "meanteacher", "uda", "iic", "udaiic")
SHOWN = "udaiic"


def train(mode: str, settings: dict[str, Any]) -> Path:
    """The run's folder; trains where it has no model."""
    folder = Path(settings["output_dir"])
    if not (folder / "model.pt").is_file():
        run_bundle(mode, "training", ("cpu.yaml",), settings, 1, BUNDLE)
        print(f"{mode}: trained", flush=True)
    return folder


def read_config(settings: dict[str, Any]) -> ConfigParser:
    """The bundle with the settings of a run."""
    files = [str(ROOT / "bundles" / BUNDLE / "configs" / name) for name in ("train.yaml", "cpu.yaml")]
    parser = ConfigParser()
    parser.read_config(ConfigParser.load_config_files(files))
    parser.update({**settings, "device": torch.device("cpu")})
    return parser


def clusters(parser: ConfigParser, checkpoint: Path) -> dict[str, Any]:
    """The slice under two views, the assignments of the first head of each local feature, and how it is laid out."""
    network = parser.get_parsed_content("training_network")
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    network.load_state_dict(saved["objects"]["network"])
    network.eval()
    case = parser.get_parsed_content("validate#preprocessing")(parser.get_parsed_content("data").validation[0])
    image: MetaTensor = case["image"]
    affine = image.affine.numpy()
    across = display_view(affine).column_axis
    (middle,) = shown_slices([case["label"][0].numpy()], number=1)
    first = image.as_tensor()[None, ..., middle]
    view = RandFlips(axes=[across], probability=1.0)(1, first.shape[2:], 0)
    second = view(first)
    with torch.no_grad():
        found = network(torch.cat((first, second)), parts=(0, 1, 1), view=view)["clusters"]
    local = [name for name, scale in network.scales.items() if scale == "local"]
    counts = {name: network.head(name).num_clusters for name in local}
    return {
        "views": (first[0, 0], second[0, 0]),
        "assignments": {name: tuple(part[0, : counts[name]] for part in found[name]) for name in local},
        "spacing": [float(mm) for mm in image.pixdim[:2]],
        "affine": affine,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/PHANTOM"))
    parser.add_argument("--runs", type=Path, default=Path("runs/phantom_mutual_information"))
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--iterations", type=int, default=40, help="in an epoch")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("docs/images/acdc-mutual-information.png"))
    options = parser.parse_args()
    common: dict[str, Any] = {"dataset_dir": str(options.data.resolve()), "labelled": 2, "validation": 4}
    common |= {"epoch_iterations": options.iterations, "train#trainer#max_epochs": options.epochs, "val_interval": 2}
    settings = {mode: {**common, "mode": mode, "output_dir": str((options.runs / mode).resolve())} for mode in MODES}
    with ThreadPoolExecutor(options.jobs) as pool:
        folders = list(pool.map(train, MODES, settings.values()))
    runs = read_runs(folders, scores=False)
    points = [of_run["val_dice"] for of_run in curve_points(runs, ["val_dice"])]
    figure = cluster_sheet(
        **clusters(read_config(settings[SHOWN]), folders[MODES.index(SHOWN)] / "checkpoint.pt"),
        scores=dict(zip(MODES, points, strict=True)),
        score="Dice of 4 validation patients, 2 patients labelled",
        moved="second view:\nleft and right swapped",
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=120)
    Image.open(drawn).convert("RGB").save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
