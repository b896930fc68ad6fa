# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from wss_monai.report.run_folder import read_run
from wss_monai.report.run_panels import run_panel


def edit(run, **changes):
    """Change the first entry of cases.json and give the run and the entry."""
    path = run / "evaluation" / "cases.json"
    entries = json.loads(path.read_text())
    entries[0].update(changes)
    path.write_text(json.dumps(entries))
    read = read_run(run)
    return read, read.files[0]


def resaved(path, change):
    """Store a changed copy of a NIfTI file beside it."""
    volume = nib.load(path)
    out = path.replace(".nii.gz", "_new.nii.gz")
    nib.save(nib.Nifti1Image(change(np.asarray(volume.dataobj)), volume.affine), out)
    return out


def test_columns_are_image_weak_label_runs_and_reference(make_run):
    run, entry = edit(make_run())
    with_label = run_panel([run], [entry])
    without = run_panel([run], [{**entry, "label": None, "weak_label": None}])
    assert (with_label.width + 10) / (without.width + 10) == pytest.approx(2, rel=0.02)


def test_file_values_are_translated(make_run):
    run = make_run()
    _, entry = edit(run)
    plain = np.asarray(run_panel([read_run(run)], [entry]))
    label = resaved(entry["label"], lambda a: np.choose(a, [0, 40, 7]).astype(np.int16))
    read, entry = edit(run, label=label, label_values={"40": 1, "7": 2})
    assert np.array_equal(np.asarray(run_panel([read], [entry])), plain)


def test_the_first_of_several_images_is_shown(make_run):
    run = make_run()
    _, entry = edit(run)
    plain = np.asarray(run_panel([read_run(run)], [entry]))
    read, entry = edit(run, image=[entry["image"], entry["image"]])
    assert np.array_equal(np.asarray(run_panel([read], [entry])), plain)


def test_other_formats_are_shown_alike(make_run, tmp_path):
    run, entry = edit(make_run())
    plain = np.asarray(run_panel([run], [entry]))
    other = {}
    for key, suffix in (("image", "mhd"), ("label", "nrrd"), ("weak_label", "seg.nrrd")):
        picture = sitk.ReadImage(entry[key])
        other[key] = str(tmp_path / f"{key}.{suffix}")
        if key == "weak_label":
            array, source = sitk.GetArrayFromImage(picture), picture
            names = {f"class {value}": int(value) for value in np.unique(array) if value != 255}
            picture = sitk.GetImageFromArray(np.where(array == 255, 0, array + 1).astype(np.uint8))
            picture.CopyInformation(source)
            for n, (name, value) in enumerate(names.items()):
                for field, text in (("Name", name), ("LabelValue", str(value + 1)), ("Layer", "0")):
                    picture.SetMetaData(f"Segment{n}_{field}", text)
        sitk.WriteImage(picture, other[key])
    read, entry = edit(run.folder, **other, weak_segments=names)
    assert np.array_equal(np.asarray(run_panel([read], [entry])), plain)


def test_single_slices_are_shown(make_run, tmp_path):
    run, entry = edit(make_run())
    flat = {}
    for kind in ("image", "label", "weak_label"):
        flat[kind] = resaved(entry[kind], lambda a: a[..., 2] if a.ndim == 3 else a)
    prediction = str(run.folder / entry["prediction"])
    flat["prediction"] = resaved(prediction, lambda a: a[..., 2:3])
    panel = run_panel([run], [{**entry, **flat}])
    assert panel.height < panel.width / 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda a: a + 9 * (a == 2).astype(np.uint8),
            r"label_new.*values \[11\], which dataset.json does",
        ),
        (lambda a: a[:-1], r"label_new.*shape \(19, 14, 5\), but the image has \(20, 14, 5\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(make_run, change, match):
    run = make_run()
    _, entry = edit(run)
    read, entry = edit(run, label=resaved(entry["label"], change))
    with pytest.raises(ValueError, match=match):
        run_panel([read], [entry])


def test_a_map_that_lies_elsewhere_is_refused(make_run):
    run = make_run()
    _, entry = edit(run)
    moved = nib.load(entry["label"])
    path = entry["label"].replace(".nii.gz", "_moved.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(moved.dataobj), moved.affine + np.diag([0, 0, 0.5, 0])), path)
    read, entry = edit(run, label=path)
    with pytest.raises(ValueError, match=r"label_moved.*has another affine than the image"):
        run_panel([read], [entry])
