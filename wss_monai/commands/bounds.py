# SPDX-License-Identifier: Apache-2.0
"""`python -m wss_monai bounds`: fit bounds on a few dense patients, from what the weak labels show."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wss_monai.commands.kinds import seed_number
from wss_monai.commands.words import class_names, json_or_file

if TYPE_CHECKING:
    from wss_monai.data import DataSplit
    from wss_monai.estimation import CaseMeasures
    from wss_monai.estimation.anatomy import AnatomyMeasures

__all__ = ["add_parser", "run"]

PARTS = ("training", "validation", "test")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `bounds`."""
    parser = subparsers.add_parser("bounds", help="fit bounds on a few dense patients", description=__doc__)
    parser.add_argument("--fit", required=True, metavar="DATA", help="data set with a dataset.json")
    parser.add_argument("--dense", type=int, metavar="K", help="how many dense training patients to use")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the draw of the K patients (default 0)")
    parser.add_argument("--labelled", type=_number, metavar="N",
                        help="instead of --dense: number, fraction or list of the split file, as the setting of that "
                        "name in a semi-supervised bundle; draws the same patients")  # fmt: skip
    parser.add_argument("--split-seed", type=seed_number, default=0, help="of the draw of --labelled (default 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="file to write, for --bounds_file")
    parser.add_argument("--patients", nargs="+", metavar="NAME", help="these dense patients instead of a draw")
    parser.add_argument("--terms", nargs="+", default=["size"], metavar="TERM",
                        help="size, centroid, extent (slices), volume, volume_centroid (default: size); of anatomy "
                        "ratio:CLASS, distance:CLASS, contact:CLASS, enclosure:CLASS, pieces, border, of volumes with "
                        "volume_ before")  # fmt: skip
    parser.add_argument("--level", type=float, default=0.9, help="nominal coverage of the intervals (default 0.9)")
    parser.add_argument("--cues", choices=("auto", "position"),
                        help="auto (default): scribbles or boxes where the weak labels are such; position (default "
                        "with --labelled): the slice's position and tags alone")  # fmt: skip
    parser.add_argument("--constant", type=_json, default={}, metavar="JSON",
                        help='mm2 and ml, none is made wider: {"size": {"LV": [10, 6000]}} or its file')  # fmt: skip
    parser.add_argument("--audit", nargs="+", default=[], choices=PARTS, metavar="PART",
                        help="coverage on others: training (those not drawn), validation, test; for evaluation "
                        "only, it reads their dense labels")  # fmt: skip
    for name, text in (
        ("split", "split file"),
        ("fold", "test fold"),
        ("validation", "number, fraction or fold of the patients set apart for validation"),
        ("class-names", "names of the classes, background first (JSON list)"),
    ):
        parser.add_argument(f"--{name}", help=f"{text}, as the bundle's setting of that name")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit, print the tables, write the file.

    Raises:
        FileNotFoundError: no such data set or split.
        ValueError: arguments, data or the number of patients do not fit, or --out is another file.
    """
    from wss_monai.estimation import audit_bounds, audit_profiles, check_profiles, fit_bounds, measure_cases
    from wss_monai.estimation.anatomy import audit_anatomy, fit_anatomy, measure_anatomy, split_terms, statements
    from wss_monai.io.atomic_files import check_replaceable, replacing
    from wss_monai.transforms.bounds.file import FORMAT

    check_replaceable(args.out, "--out", (b'{\n "format": "wss_monai estimated bounds',))
    sizes, words = split_terms(args.terms)
    _check_constant(args.constant, sizes)
    split, chosen = _chosen(args)
    _check_classes(args.constant, split.class_names)
    anatomy = statements(words, split.class_names)
    kind = "position" if (args.cues or ("auto" if args.labelled is None else "position")) == "position" else None

    def cases_of(part: str, fitted: bool) -> list[dict[str, Any]]:
        return [c for c in getattr(split, part) if (c["patient"] in chosen) == fitted and (fitted or c["label"])]

    def measure(part: str, fitted: bool = False) -> list[CaseMeasures]:
        cases = cases_of(part, fitted) if sizes else []
        return measure_cases(cases, len(split.class_names), split.dataset.slice_axis, kind)

    def measured(part: str, fitted: bool = False) -> list[AnatomyMeasures]:
        cases = cases_of(part, fitted) if anatomy else []
        return measure_anatomy(cases, anatomy, split.class_names, split.dataset.slice_axis)

    names, fitted = split.class_names, measure("training", True)
    terms = fit_bounds(fitted, names, sizes, args.level, args.constant)
    said = fit_anatomy(measured("training", True), names, anatomy, args.level)
    others = {part: measure(part) for part in args.audit}
    audit = {part: audit_bounds(terms, cases, names) for part, cases in others.items()}
    for part in audit:
        audit[part] |= audit_anatomy(said, measured(part), names, anatomy)
    untold = {}
    if "size" in terms:
        untold = {part: audit_profiles(terms["size"]["classes"], cases, names) for part, cases in others.items()}
        untold = {"left out by patient": check_profiles(terms["size"]["classes"], fitted, names), **untold}
    content = {
        "format": FORMAT,
        "bounds_origin": "estimated",
        "dataset": split.dataset.name,
        "class_names": split.class_names,
        "dense": len(chosen),
        "seed": args.seed if args.labelled is None else args.split_seed,
        "patients": chosen,
        "level": args.level,
        "level_guaranteed": len(chosen) / (len(chosen) + 1),
        "approximate": "calibrated on pooled slices or volumes, left out by patient; those of one patient are alike",
        "terms": terms | said,
        "audit": audit,
        "audit_without_tags": untold,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.out) as part:
        part.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    _print(content, sizes)
    if kind and sizes:
        _print_untold(untold)
    print(f"written: {args.out}")
    return 0


def _check_constant(constant: Any, terms: Sequence[str]) -> None:
    """Refuse what is no bound, before any case is read.

    Raises:
        ValueError: names the place.
    """
    from wss_monai.transforms.bounds.file_content import check_constants

    example = 'as in {"size": {"LV": [10, 6000]}}'
    if not isinstance(constant, dict) or not all(isinstance(classes, dict) for classes in constant.values()):
        raise ValueError(f"--constant must be an object of objects, {example}; got {json.dumps(constant)}")
    if unknown := sorted(set(constant) - set(terms)):
        raise ValueError(f"--constant names the terms {unknown}, which --terms {terms} does not fit")
    for term, classes in constant.items():
        for name, sides in classes.items():
            try:
                check_constants(sides, f"{term}.{name}")
            except ValueError as error:
                raise ValueError(f"--constant: {error}, {example}") from error


def _check_classes(constant: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> None:
    """Refuse constant bounds of what is no class."""
    if strange := sorted({name for classes in constant.values() for name in classes} - set(names[1:])):
        raise ValueError(f"--constant names {strange}; the foreground classes are {list(names[1:])}")


def _chosen(args: argparse.Namespace) -> tuple[DataSplit, list[str]]:
    """The cases of the split, with all labels that they have, and the patients to fit on."""
    from wss_monai.data import draw_dense, load_cases, load_semi_supervised

    names = class_names(args.class_names)
    options: dict[str, Any] = {} if args.validation is None else {"validation": _number(args.validation)}
    where = (args.fit, names, args.split, _number(args.fold))
    if args.labelled is not None:
        if args.dense is not None or args.patients:
            raise ValueError("--labelled draws the patients itself: leave out --dense and --patients")
        drawn = load_semi_supervised(*where, labelled=args.labelled, split_seed=args.split_seed, **options)
        known = load_cases(*where, seed=args.split_seed, **options)  # with all labels, but of other parts
        cases = [*known.training, *known.validation, *known.test]
        training, validation, test = (
            [case for case in cases if case["patient"] in set(drawn.patients[part])] for part in PARTS
        )
        split = replace(known, training=training, validation=validation, test=test)
        return split, drawn.patients["labelled"]
    split = load_cases(*where, seed=args.seed, **options)
    if not args.patients:
        if args.dense is None:
            raise ValueError("say which dense patients to fit on: --dense K, --patients NAME ... or --labelled N")
        return split, draw_dense(split.training, args.dense, args.seed)
    if strange := sorted(set(args.patients) - {case["patient"] for case in split.training}):
        raise ValueError(f"--patients {strange} are no training patients of this split")
    return split, sorted(args.patients)


def _print(content: Mapping[str, Any], sizes: Sequence[str]) -> None:
    from wss_monai.estimation.conformal import widening
    from wss_monai.estimation.set_sizes import sum_lines

    k, level = content["dense"], content["level"]
    print(f"Bounds fitted on {k} dense patients of {content['dataset']}: {', '.join(content['patients'])}")
    print(
        f"Nominal coverage {level:.2f}, approximate (residuals of slices or volumes are pooled; those of one patient "
        f"are alike). Calibration by patient could guarantee {content['level_guaranteed']:.2f} at most, k / (k + 1)."
    )
    if k < 3:
        print(f"Too few to calibrate on: intervals reach {widening(k):.2f} times beyond what these patients show.")
    checks = {term: fitted["check"] for term, fitted in content["terms"].items()}
    parts = {"left out by patient": checks, **content["audit"]}
    for part, tables in parts.items():
        where = part if part == "left out by patient" else f"audit on {part} patients"
        print(f"\n{where}:")
        print(f"{'term':<18}{'class':<14}{'cues':<10}{'patients':>8}{'n':>6}{'coverage':>10}  width")
        for term, rows in tables.items():
            for row in rows:
                print(
                    f"{term:<18}{row['class']:<14}{row['cues']:<10}{row['patients']:>8}{row['n']:>6}"
                    f"{row['coverage']:>10.2f}  {_width(row)}{_replaced(row)}"
                )
    if lines := sum_lines(parts):
        print("\nsums over a set, for set_size (log: 0.15 is about 15 %; by bootstrap over the dense patients):")
        print("\n".join(lines))
    for term in sizes:
        lacking = [name for name, c in content["terms"][term]["classes"].items() if "constant" not in c]
        if lacking and content["terms"][term]["unit"] != "mm":
            print(f"{term}: no constant bounds of {', '.join(lacking)} to fall back on (--constant)")


def _print_untold(untold: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for part, rows in untold.items():
        where = part if part == "left out by patient" else f"audit on {part} patients"
        print(f"\nslices without tags (unknown: position), {where}:")
        print(
            f"{'class':<14}{'patients':>8}{'n':>6}{'inside':>8}{'upper':>7}{'has lower':>11}{'lower':>7}"
            f"{'upper / true':>14}{'true / lower':>14}"
        )
        for row in rows:
            inside = (
                f"{row['coverage']:>8.2f}{row['upper']:>7.2f}{row['lower_share']:>11.2f}{_cell(row['lower'], 2):>7}"
            )
            widths = f"{_cell(row['upper_over_true'], 1):>14}{_cell(row['true_over_lower'], 1):>14}"
            print(f"{row['class']:<14}{row['patients']:>8}{row['n']:>6}{inside}{widths}")
        if not rows:
            print("nothing: one patient alone shows a class, or there are no others with a dense label")


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _width(row: Mapping[str, Any]) -> str:
    if "interval" in row:
        lower, upper = row["interval"]
        words = "at most" if lower is None else f"{lower:.3g} to" if upper is not None else f"at least {lower:.3g}"
        unit = "" if row["unit"] == "1" else f" {row['unit']}"
        return (words if upper is None else f"{words} {upper:.3g}") + unit
    return f"{row['width_mm']:.1f} mm" if "width_mm" in row else f"upper / lower = {row['width_ratio']:.1f}"


def _replaced(row: Mapping[str, Any]) -> str:
    share = row.get("replaced_by_constant", 0.0)
    return f"  ({share:.0%} replaced by the constant bound, which is tighter on a side)" if share else ""


def _json(text: str) -> Any:
    try:
        return json_or_file(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"there is no file '{text}'") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error


def _number(text: str | None) -> Any:
    """A number where the text is one, else the text (the name of a fold)."""
    for kind in (int, float):
        try:
            return None if text is None else kind(text)
        except ValueError:
            continue
    return text
