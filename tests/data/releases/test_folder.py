# SPDX-License-Identifier: Apache-2.0
"""Cases found by the names of their files."""

from __future__ import annotations

import pytest

from wss_monai.data.releases.folder import find_cases

IMAGE = r"(?P<patient>p\d+)/(?P<phase>ED|ES)\.nii\.gz"
LABEL = r"(?P<patient>p\d+)/(?P<phase>ED|ES)_gt\.nii\.gz"
WEAK = r"(?P<patient>p\d+)/(?P<phase>ED|ES)_drawn\.(nii\.gz|seg\.nrrd)"


@pytest.fixture
def folder(tmp_path):
    """Give a function that makes empty files."""

    def make(*names, content=b""):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return make


def test_files_of_a_case_are_joined_by_their_groups(folder):
    root = folder(
        "p1/ED.nii.gz", "p1/ES.nii.gz", "p1/ED_gt.nii.gz", "p2/ED.nii.gz", "p2/ED_drawn.seg.nrrd", "p9/ES_gt.nii.gz",
        "notes.txt", "p2/extra.mha", ".hidden/ED.nii.gz", "p2/.ED.nii.gz",
    )  # fmt: skip
    found = find_cases(root, IMAGE, LABEL, WEAK)
    assert found.cases == [
        {"case": "p1_ED", "patient": "p1", "phase": "ED", "image": "p1/ED.nii.gz", "label": "p1/ED_gt.nii.gz"},
        {"case": "p1_ES", "patient": "p1", "phase": "ES", "image": "p1/ES.nii.gz"},
        {
            "case": "p2_ED",
            "patient": "p2",
            "phase": "ED",
            "image": "p2/ED.nii.gz",
            "weak_label": "p2/ED_drawn.seg.nrrd",
        },
    ]
    assert found.without == {"label": ["p1_ES", "p2_ED"], "weak_label": ["p1_ED", "p1_ES"]}
    assert found.orphans == {"label": ["p9/ES_gt.nii.gz"], "weak_label": []}
    assert found.unmatched == ["p2/extra.mha"]
    assert found.modalities == []


def test_modalities_are_images_of_one_case(folder):
    root = folder("a_T2.mha", "a_T1.mha", "a_seg.mha", "b_T1.mha")
    found = find_cases(root, r"(?P<patient>\w)_(?P<modality>T\d)\.mha", r"(?P<patient>\w)_seg\.mha")
    assert found.modalities == ["T1", "T2"]
    assert found.cases == [{"case": "a", "patient": "a", "image": ["a_T1.mha", "a_T2.mha"], "label": "a_seg.mha"}]
    assert found.incomplete == {"b": ["T2"]}


def test_dicom_series_are_folders(folder):
    dicom = b"\0" * 128 + b"DICM"
    root = folder("scans/anna/0001.dcm", "scans/anna/0002.dcm", "scans/berta/IM0001", content=dicom)
    folder("scans/clara/readme")
    found = find_cases(root, r"scans/(?P<patient>[a-z]+)")
    assert [case["image"] for case in found.cases] == ["scans/anna", "scans/berta"]
    assert found.unmatched == []


def test_group_case_and_other_words(folder):
    root = folder("siteA/x1/day1/im.nrrd", "siteA/x1/day2/im.nrrd")
    found = find_cases(root, r"(?P<group>\w+)/(?P<patient>\w+)/(?P<visit>\w+)/im\.nrrd")
    assert [(case["case"], case["group"], sorted(case)) for case in found.cases] == [
        ("x1_day1", "siteA", ["case", "group", "image", "patient"]),
        ("x1_day2", "siteA", ["case", "group", "image", "patient"]),
    ]
    found = find_cases(root, r"\w+/(?P<patient>\w+)/(?P<case>\w+)/im\.nrrd")
    assert [case["case"] for case in found.cases] == ["day1", "day2"]


def test_a_link_that_leads_back_is_followed_once(folder):
    root = folder("p1/ED.nii.gz")
    (root / "p1" / "loop").symlink_to(root)
    assert len(find_cases(root, IMAGE).cases) == 1


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("(?P<patient>p", None), r"--image: '\(\?P<patient>p' is not a regular expression: "),
        ((r"p\d/ED.*", None), r"--image: 'p\\d/ED.*' has no group named patient; write \(\?P<patient>"),
        ((IMAGE, r"p1/ED_gt.*"), r"--label: .* has no group named patient"),
        (
            (r"(?P<patient>q\d+)/.*", None),
            r"--image: .* matches the whole path of no volume in .* such as \['p1/ED.nii",
        ),
        (
            (r"(?P<patient>p\d+)/E.\.nii\.gz", None),
            "two images for one case: 'p1/ED.nii.gz' and 'p1/ES.nii.gz' have the",
        ),
        ((IMAGE, r"(?P<patient>p\d+)/E.*"), "'p1/ED.nii.gz' matches --image and --label; make one"),
        (
            (IMAGE, r"(?P<patient>p\d+)/E._gt.*"),
            "--label: 'p1/ED_gt.nii.gz' fits 2 images, such as p1/ED.nii.gz and p1/ES",
        ),
        ((IMAGE, r"(?P<patient>p\d+)/(?P<phase>E.)_.*"), "two files for the label of case 'p1_ED': 'p1/ED_gt.nii"),
        ((r"p1/(?P<patient>x?)ED.nii.gz", None), "the group patient is empty in 'p1/ED.nii.gz'"),
    ],
)
def test_what_does_not_fit_is_refused(folder, patterns, message):
    root = folder("p1/ED.nii.gz", "p1/ES.nii.gz", "p1/ED_gt.nii.gz", "p1/ED_gt2.nii.gz")
    with pytest.raises(ValueError, match=message):
        find_cases(root, *patterns)


def test_equal_case_names_are_refused(folder):
    root = folder("p1/a.mha", "p2/a.mha")
    with pytest.raises(ValueError, match="two cases would be called 'a'"):
        find_cases(root, r"(?P<patient>p\d)/(?P<case>a)\.mha")


def test_a_missing_or_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_cases(tmp_path / "none", IMAGE)
    with pytest.raises(ValueError, match=r"and there are none \(looked for \.nii\.gz, "):
        find_cases(tmp_path, IMAGE)
