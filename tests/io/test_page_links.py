# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
from tiny import ROOT

from wss_monai.io.page_links import absolute_links, outside_links

PAGE = """See [how](docs/how.md), [part](docs/how.md#part), [below](#below) and [MONAI](https://monai.io).

![A picture](docs/a.png)

*What it shows,
with [a link](docs/b.md).*

Then `x[0](y)` and [two
lines](LICENSE).
"""


def test_without_an_address_links_are_words_and_pictures_go_with_their_captions():
    assert absolute_links(PAGE) == (
        "See how, part, [below](#below) and [MONAI](https://monai.io).\n\nThen `x[0](y)` and two\nlines.\n"
    )


def test_with_an_address_links_and_pictures_lead_there():
    shown = absolute_links(PAGE, "https://host/o/n/blob/main", "https://host/o/n/raw/main")
    assert "[part](https://host/o/n/blob/main/docs/how.md#part)" in shown
    assert "![A picture](https://host/o/n/raw/main/docs/a.png)" in shown
    assert "[two\nlines](https://host/o/n/blob/main/LICENSE)" in shown
    assert "[below](#below) and [MONAI](https://monai.io)" in shown


@pytest.mark.parametrize(
    ("link", "stays"),
    [
        ("[a](../LICENSE)", True),
        ("[a](images/b.png)", True),
        ("[a](#c)", True),
        ("[a](mailto:x)", True),
        ("[a](../../other/README.md)", False),
        ("[a](../../../docs/how-to/own-data.md#x)", False),
    ],
)
def test_links_out_of_a_folder_are_words(tmp_path, link, stays):
    page = tmp_path / "docs" / "README.md"
    assert outside_links(f"as {link}.", page, tmp_path) == (f"as {link}." if stays else "as a.")


def test_the_readme_has_no_relative_link_in_a_package_index():
    shown = absolute_links((ROOT / "README.md").read_text(encoding="utf-8"))
    outside = re.sub(r"```.*?```|`[^`]*`", "", shown, flags=re.S)
    assert not re.findall(r"\]\((?!https?:|#)", outside)
    assert "[MONAI](https://monai.io)" in shown and "wss-monai plan" in shown
