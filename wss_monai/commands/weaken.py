# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai weaken`: write weak labels made from a data set's dense ones, to look at and to reuse."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wss_monai.commands.kinds import told_failures
from wss_monai.commands.words import parse_options

if TYPE_CHECKING:
    from wss_monai.data.schema import Dataset
    from wss_monai.functional.weak.strategies import Strategy

__all__ = ["add_parser", "run"]

NAMES = "random_blob, centroid_blob, erosion, box, scribble, scribble_interior, scribble_border, points, sparse_slices"
NAMES += ", random_walker, keep"
WALKER = "random_walker"
"""The strategy that needs the image: what another strategy draws, grown to whole slices."""
WALK = ("beta", "lacking")
"""Its own options; ``seeds`` names the other strategy, and all others are that one's."""
KEEP = "keep"
"""The strategy that takes what is drawn already, of whatever kind, and leaves it in every n-th slice alone."""
HIDING = ("sparse_slices",)
"""Strategies that may leave out a class that a slice shows, since the slice is not annotated."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `weaken`."""
    parser = subparsers.add_parser("weaken", help="write weak labels made from dense ones", description=__doc__)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="data set with a dataset.json and dense labels")
    parser.add_argument("--strategy", required=True, metavar="NAME", help=f"one of {NAMES}")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the weak labels and a dataset.json go")
    parser.add_argument("--seed", type=int, default=0, help="of the draw; each case has its own (default 0)")
    parser.add_argument(
        "--slice-axis",
        choices=("0", "1", "2", "none"),
        help="draw in every slice along this axis of the stored volume, or 'none': in 3D (default: the data set's)",
    )
    parser.add_argument("--background", action="store_true", help="draw background as a class as well")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the strategy, such as radius=2, length=[0.3,0.6] or per_component=true; repeat for more. "
        "An unknown one is answered with the list",
    )
    parser.add_argument("--preview", metavar="PNG", help="draw a few slices of one case: image, dense and weak label")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the weak labels, then the dataset.json that describes them, and print what was labelled.

    With the strategy ``keep``, thin out the weak labels that are there.

    A case whose label cannot be used is left out, and named at the end: the exit code is 1 then. The folder appears, or
    gets its files, when all is written.

    Raises:
        FileNotFoundError: there is no such data set.
        ValueError: strategy, option, folder or a label do not fit.
    """
    from tqdm import tqdm

    from wss_monai.data.schema import read_dataset, write_dataset
    from wss_monai.functional.weak.strategies import Strategy, case_seed
    from wss_monai.io.whole_folder import whole_folder

    dataset, out = read_dataset(args.data), Path(args.out)
    if (out / "dataset.json").exists():
        raise ValueError(f"--out: '{out}' holds a dataset.json already; remove it or choose another folder")
    source = "weak_label" if args.strategy == KEEP else "label"
    cases = [case for case in dataset.training + dataset.test if case.get(source) is not None]
    if taken := [case for case in cases if (out / _target(case)).exists()]:
        raise ValueError(
            f"--out: '{out / _target(taken[0])}' is there already and no dataset.json of this command says what it is; "
            "choose another folder"
        )
    if not cases:
        what = "'weak_label' to thin out" if args.strategy == KEEP else "dense 'label' to make a weak one from"
        raise ValueError(f"{dataset.path}: no case has a {what}")
    axis = _slice_axis(args.slice_axis, dataset)
    if args.strategy == KEEP:
        return _keep(args, dataset, cases, axis, out)
    options = parse_options(args.option) | ({"background": True} if args.background else {})
    said = dict(options)
    walk = {name: options.pop(name) for name in WALK if name in options} if args.strategy == WALKER else None
    drawing = args.strategy if walk is None else str(options.pop("seeds", "scribble"))
    if walk is not None:  # without drawn background all of a slice would be organ
        options.setdefault("background", True)
        if drawing in ("box", WALKER):
            raise ValueError(
                f"--option seeds={drawing}: the random walker starts from what is drawn, such as a scribble"
            )
    strategy = Strategy(drawing, axis, **options)
    grow = None if walk is None else _walker(dataset, axis, walk)

    names = dataset.class_names
    if strange := [k for k in np.ravel(options.get("classes") or []).tolist() if not 0 <= k < len(names)]:
        raise ValueError(f"--option classes names {strange}; the classes are 0 to {len(names) - 1}: {names}")
    sets: list[tuple[int, ...]] = []
    counts = np.zeros((2, len(names)), dtype=np.int64)
    failed: dict[str, str] = {}
    with whole_folder(out) as work:
        for case in tqdm(cases, desc="weaken", unit="case"):
            try:
                counts += _weaken_case(dataset, case, strategy, case_seed(args.seed, case["case"]), work, sets, grow)
            except (ValueError, EOFError, MemoryError) as error:
                failed[case["case"]] = str(error)
        if len(failed) == len(cases):
            raise ValueError(next(iter(failed.values())))
        several = {str(len(names) + j): [names[k] for k in classes] for j, classes in enumerate(sets)}
        absent = axis == dataset.slice_axis and drawing not in HIDING and "classes" not in options
        section = {
            "kind": args.strategy,
            "values": {**{str(k): name for k, name in enumerate(names)}, **several, "255": "unlabelled"},
            "undrawn_means_absent": absent,
            "made_with": {"strategy": args.strategy, "seed": args.seed, "slice_axis": axis, "options": said},
        }
        write_dataset(work, _description(dataset, section, out, failed))
    _print_counts(names, counts)
    dropped = sum(c.get("weak_label") is not None and c.get("label") is None for c in dataset.training + dataset.test)
    if dropped:
        print(f"{dropped} cases without a dense label lost the weak label they had, whose values mean something else")
    done = [case for case in cases if case["case"] not in failed]
    print(f"{out / 'dataset.json'}: {len(done)} weak labels; undrawn means absent: {str(absent).lower()}")
    if args.preview:
        _preview(dataset, done, out, Path(args.preview), sets)
    return told_failures(failed, f"left out of {out / 'dataset.json'}")


def _keep(
    args: argparse.Namespace, dataset: Dataset, cases: Sequence[Mapping[str, Any]], axis: int | None, out: Path
) -> int:
    """Write the weak labels of the cases as they are in every n-th slice, and unlabelled elsewhere."""
    from wss_monai.data.kept_slices import thin_out
    from wss_monai.data.schema import write_dataset
    from wss_monai.functional.weak.strategies import LARGEST
    from wss_monai.io.whole_folder import whole_folder

    options = parse_options(args.option)
    every = options.get("every")
    if set(options) != {"every"} or not isinstance(every, int) or isinstance(every, bool) or not 1 <= every < LARGEST:
        raise ValueError(f"strategy 'keep' takes one option, such as --option every=3; got {options}")
    if args.background or args.preview or axis is None:
        raise ValueError("strategy 'keep' draws nothing: leave out --background, --preview and --slice-axis none")
    with whole_folder(out) as work:
        counts, failed = thin_out(dataset, cases, axis, every, args.seed, {c["case"]: work / _target(c) for c in cases})
        former = dataset.raw["weak_label"]
        made = {"strategy": KEEP, "seed": args.seed, "slice_axis": axis, "options": options}
        made |= {"of": former["made_with"]} if "made_with" in former else {}
        write_dataset(work, _description(dataset, {**former, "made_with": made}, out, failed, thinned=True))
    print(f"{out / 'dataset.json'}: {counts[1]} of {counts[0]} slices with a drawing kept")
    return told_failures(failed, f"left out of {out / 'dataset.json'}")


def _slice_axis(word: str | None, dataset: Dataset) -> int | None:
    if word is None:
        return dataset.slice_axis
    return None if word == "none" else int(word)


def _weaken_case(
    dataset: Dataset,
    case: Mapping[str, Any],
    strategy: Strategy,
    seed: int,
    out: Path,
    sets: list[tuple[int, ...]],
    grow: Callable[[Mapping[str, Any], np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Write the weak label of a case; return the voxels of each class in the dense and the weak label, shape (2, K).

    Boxes overlap: the sets of classes that do get values of their own, in the order of ``sets``, which grows. ``grow``
    makes more of what was drawn in a case.
    """
    from wss_monai.functional.weak.box_maps import box_index, split_index

    dense, like = _load_dense(dataset, case)
    count = len(dataset.class_names)
    try:
        if strategy.name == "box":
            channels = strategy.channels(dense, count)
            weak = box_index(channels, sets)
        else:
            weak = strategy.draw(dense, np.random.RandomState(seed))
            weak = weak if grow is None else grow(case, weak)
            channels = split_index(weak, (), count)
    except ValueError as error:
        raise ValueError(f"case '{case['case']}', {dataset.file_of(case, 'label')}: {error}") from error
    _save(weak, like, out / _target(case))
    return np.stack([of.reshape(count, -1).sum(axis=1) for of in (split_index(dense, (), count), channels)])


def _walker(
    dataset: Dataset, axis: int | None, options: Mapping[str, Any]
) -> Callable[[Mapping[str, Any], np.ndarray], np.ndarray]:
    """A function that grows what is drawn in a case, (*spatial), by the random walker on its image."""
    from wss_monai.io.volumes import read_array
    from wss_monai.transforms import RandomWalkerd

    walker = RandomWalkerd(len(dataset.class_names), axis, **options)

    def grow(case: Mapping[str, Any], drawn: np.ndarray) -> np.ndarray:
        source = dataset.file_of(case, "image")
        first = source[0] if isinstance(source, list) else source
        if first is None:
            raise ValueError("the random walker needs the image, which the case does not have")
        image = np.asarray(read_array(first)[0], np.float32)
        grown: np.ndarray = walker({"case": case["case"], "image": image[None], "weak_label": drawn[None]})[
            "weak_label"
        ]
        return grown[0]

    return grow


def _target(case: Mapping[str, Any]) -> str:
    return f"weak_labels/{case['case']}.nii.gz"


def _load_dense(dataset: Dataset, case: Mapping[str, Any]) -> tuple[np.ndarray, Any]:
    """Load a dense label as class indices, (X, Y[, Z]) uint8, and the image it came in."""
    import nibabel as nib

    from wss_monai.io.labels import named, read_index

    file, source = str(dataset.file_of(case, "label")), dataset.file_of(case, "image")
    image = source[0] if isinstance(source, list) else source
    index = {name: i for i, name in enumerate(dataset.class_names)}
    segments = index | {segment: index[name] for segment, name in dataset.segments_of(case).items()}
    values = {value: index[name] for value, name in dataset.labels_of(case).items()}
    if file.lower().endswith((".nii", ".nii.gz")):
        with named(str(case["case"]), "label", file):
            _check_place(file, image)
            return read_index(file, values, segments), nib.load(file)
    from wss_monai.transforms import LoadCased

    meaning: dict[Any, Any] = {"label_values": values, "label_segments": segments}
    grid = file if image is None else str(image)
    found = LoadCased(["label"])({"case": case["case"], "image": grid, "label": file, **meaning})["label"]
    dense = found[0].numpy()
    return dense, nib.Nifti1Image(dense, found.affine.numpy())


def _check_place(file: str, image: object) -> None:
    """Refuse a label that does not lie on its image's grid, if the image is there."""
    from wss_monai.io.grids import read_grid, same_grid

    if image is None or not Path(str(image)).exists():
        return
    ours, theirs = read_grid(file), read_grid(str(image))
    if ours.shape != theirs.shape or not same_grid(ours.affine, theirs.affine, ours.shape):
        raise ValueError(f"{file} lies on another grid than {image}; save it on the image's grid")


def _save(weak: np.ndarray, like: Any, target: Path) -> None:
    import nibabel as nib

    from wss_monai.io.nifti_files import save_image

    header = nib.Nifti1Header.from_header(like.header)
    header.set_data_dtype(np.uint8)
    save_image(nib.Nifti1Image(weak, like.affine, header), target)


def _description(
    dataset: Dataset, section: dict[str, Any], out: Path, left_out: Container[str], thinned: bool = False
) -> dict[str, Any]:
    """Return the content of the new dataset.json: the old one, its paths seen from the new folder.

    Where labels were thinned out, cases keep their own meaning of them.
    """
    from wss_monai.data.derived_dataset import carried, leads_outside, moved_case

    parts: dict[str, list[dict[str, Any]]] = {}
    for part, cases in (("training", dataset.training), ("test", dataset.test)):
        parts[part] = []
        for case in (case for case in cases if case["case"] not in left_out):
            moved = moved_case(dataset, case, out)
            moved["weak_labels"] = case.get("weak_labels") if thinned else None
            moved["weak_label"] = None if case.get("weak_label" if thinned else "label") is None else _target(case)
            parts[part].append({key: value for key, value in moved.items() if value is not None})
    outside = leads_outside([case for part in parts.values() for case in part])
    section = {"weak_label": section, **({"files_outside": True} if outside else {})}
    return {**carried(dataset), **section, **{part: parts[part] for part in parts if part in dataset.raw}}


def _print_counts(names: Sequence[str], counts: np.ndarray) -> None:
    width = max(map(len, (*names, "class")))
    print(f"{'class':<{width}} {'dense voxels':>13} {'labelled':>10} {'%':>7}")
    for name, dense, weak in zip(names, *counts.tolist(), strict=True):
        print(f"{name:<{width}} {dense:>13} {weak:>10} {100 * weak / dense if dense else 0:>7.2f}")


def _preview(
    dataset: Dataset, cases: Sequence[Mapping[str, Any]], out: Path, target: Path, sets: Sequence[Sequence[int]]
) -> None:
    """Draw a few slices of the first case, one with an image if there is any; of boxes the smallest is on top."""
    import nibabel as nib

    from wss_monai.functional.weak.box_maps import split_index, visible_index
    from wss_monai.io.atomic_files import replacing
    from wss_monai.io.volumes import read_array
    from wss_monai.report.panels import case_panel, shown_slices

    case = next((case for case in cases if case.get("image") is not None), cases[0])
    dense, like = _load_dense(dataset, case)
    weak_image: Any = nib.load(out / _target(case))
    weak = visible_index(split_index(np.asarray(weak_image.dataobj), sets, len(dataset.class_names)))
    source = dataset.file_of(case, "image")
    first = source[0] if isinstance(source, list) else source
    picture = np.asarray(like.dataobj) if first is None else read_array(first)[0]
    slices = shown_slices([dense], dataset.slice_axis) if dense.ndim == 3 else None
    panel = case_panel(
        picture,
        {"dense label": dense, "weak label": weak},
        like.header.get_zooms()[: dense.ndim],
        dataset.class_names,
        affine=like.affine,
        slice_axis=dataset.slice_axis,
        slices=slices,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        panel.save(temporary)
    print(f"{target}: case {case['case']}")
