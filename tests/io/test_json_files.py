# SPDX-License-Identifier: Apache-2.0
"""JSON from elsewhere: read, or refused in one line with the file's name."""

from __future__ import annotations

import pytest

from wss_monai.io.faults import FormatFault, one_line
from wss_monai.io.json_files import parse_json, read_json
from wss_monai.io.names import odd_in, odd_in_stem


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, encoding):
    path = tmp_path / "a.json"
    path.write_text('{"name": "Herz \u00e4"}', encoding=encoding)
    assert read_json(path) == {"name": "Herz \u00e4"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"[" * 100_000, "not a JSON file: it is nested too deeply"),
        (b'{"a":' * 50_000, "not a JSON file: it is nested too deeply"),
        (b"[" + b"1" * 5000 + b"]", "not a JSON file: Exceeds the limit"),
        (b"\xff\xfe\x00", "not UTF-8 text: invalid start byte at byte 0"),
        (b'{"a": 1,}', "not a JSON file: .* line 1 column 9"),
        (b"", "not a JSON file"),
    ],
    ids=["lists", "objects", "digits", "binary", "comma", "empty"],
)
def test_what_is_no_json_is_refused_with_the_name_of_the_file(tmp_path, content, match):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatFault, match=rf"a\.json: {match}"):
        read_json(path)


def test_words_of_the_command_line_are_refused_by_valueerror_alone():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
    assert parse_json("[1, null]") == [1, None]


def test_a_message_takes_one_line_that_no_terminal_acts_upon():
    matrix = "affine [[1. 0.]\n        [0. 1.]] of 'a\x1b[31m\x00b\ud800': mend it"
    assert one_line(ValueError(matrix)) == r"affine [[1. 0.] [0. 1.]] of 'a\x1b[31m\x00b\ud800': mend it"
    long = one_line(ValueError("start " + "x" * 10_000 + " the end"))
    assert len(long) == 2005 and long.startswith("start x") and long.endswith("x the end") and " ... " in long


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x1b[31m", "control character"),
        ("a\ud800", "lone surrogate"),
        ("a\u2028b", "line break"),
        ("x" * 300, "300 bytes"),
        ("\u00e4" * 101, "202 bytes"),
    ],
)
def test_names_after_which_no_file_is_named(name, match):
    assert match in odd_in_stem(name)


@pytest.mark.parametrize("name", ["patient001_frame01", "\u60a3\u8005 7", "x" * 200, "a=b"])
def test_names_that_are_well(name):
    assert odd_in(name) == odd_in_stem(name) == ""
