# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai predict`: masks and volumes in ml of new images, with the network of a run.

Network, voxel size, windows, classes, modalities and post-processing are those that the run's folder has recorded.
Inputs are .nii, .nii.gz, .nrrd, .mha, .mhd files, DICOM series (a folder each), and folders of all these. A network of
several modalities takes the files of a case by the ends of their names: anna_T2.nii.gz and anna_ADC.nii.gz (the names
of the modalities), or anna_0000.nii.gz and anna_0001.nii.gz; or T2.nii.gz and ADC.nii.gz in a folder a case.
"""

from __future__ import annotations

import argparse

__all__ = ["add_parser", "run"]

FORMATS = ("nifti", "nrrd", "dicom-seg")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `predict`."""
    parser = subparsers.add_parser(
        "predict",
        help="predict masks and volumes in ml of new images",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--run",
        dest="run_folder",
        required=True,
        metavar="RUN",
        help="output folder of a training, or of a cross-validation: the mean of its folds",
    )
    add("--input", nargs="+", action="extend", required=True, metavar="PATH", help="volume files and folders")
    add("--out", required=True, metavar="FOLDER", help="where masks and volumes.csv go; sub-folders are kept")
    add("--weights", default="last", metavar="last|best|FILE",
        help="model.pt, model_best.pt, or a file (default: last)")  # fmt: skip
    add("--format", choices=FORMATS, default="nifti",
        help="of the masks: .nii.gz (default), .seg.nrrd for 3D Slicer, or DICOM-SEG of DICOM series")  # fmt: skip
    add("--ensemble", nargs="+", action="extend", default=[], metavar="RUN",
        help="average the probabilities of --run and of these runs of the same classes")  # fmt: skip
    add("--tta", action="store_true", help="average over mirrored images, along the axes that training mirrored")
    add("--uncertainty", action="store_true", help="also write the entropy of the probabilities, 0 (sure) to 1")
    add("--preview", action="store_true", help="also write a picture of each case")
    add("--keep-largest", choices=("yes", "no"),
        help="the largest connected component alone (default: as in the run's last evaluation)")  # fmt: skip
    add("--endings", nargs="+", default=[], metavar="ENDING",
        help="how file names of each modality end, in their order, such as _t2 _adc")  # fmt: skip
    add("--device", metavar="DEVICE", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    add("--trust", nargs="+", default=[], metavar="PACKAGE", help="use classes of this package that the run names")
    add("--overwrite", action="store_true", help="replace masks that are there")
    add("--dry-run", action="store_true", help="list what would be predicted to where, and write nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict; print what was found.

    Raises:
        FileNotFoundError, ValueError: the run, the inputs or the options do not fit.
        CasesFailedError: some files could not be predicted; the others are done.
    """
    import logging

    from tqdm import tqdm

    from wss_monai.prediction import Predictor, plan_of, predict

    logging.getLogger("monai.transforms").setLevel(logging.ERROR)
    predictor = Predictor(
        [args.run_folder, *args.ensemble],
        weights=args.weights,
        device=args.device,
        mirror=args.tta,
        uncertainty=args.uncertainty,
        keep_largest=None if args.keep_largest is None else args.keep_largest == "yes",
        trust=args.trust,
    )
    plan = plan_of(predictor, args.input, args.out, format=args.format, endings=args.endings, overwrite=args.overwrite)
    for path in plan.left:
        print(f"left out: {path} is a segmentation, no image")
    if args.dry_run:
        for case, mask in zip(plan.cases, plan.masks, strict=True):
            print(f"{case.shown} -> {f'not predicted: {case.fault}' if case.fault else mask}")
        return 0
    rows = predict(
        predictor,
        plan,
        preview=args.preview,
        progress=lambda cases, total: tqdm(cases, total=total, desc="predict", unit="case", leave=False, disable=None),
        tell=tqdm.write,
    )
    count = len({row["mask"] for row in rows})
    print(f"{count} mask{'s' * (count != 1)} and volumes.csv written to {args.out}")
    return 0
