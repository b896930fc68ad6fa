# SPDX-License-Identifier: Apache-2.0
"""Label descriptions of ITK-SNAP: which value of a label map is called what."""

from __future__ import annotations

import os
import re

from wss_monai.io.faults import FormatFault
from wss_monai.io.json_files import read_text

__all__ = ["CLEAR", "read_label_file"]

CLEAR = 0
"""The value of ITK-SNAP's "Clear Label", of voxels that nobody drew."""
LINE = re.compile(r'\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.eE+-]+\s+[01]\s+[01]\s+"(.*)"\s*')


def read_label_file(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read what ITK-SNAP saves by Segmentation, Export Label Descriptions.

    Returns:
        Value -> name, without value 0.

    Raises:
        OSError: it cannot be read.
        FormatFault: a line is no description, or there is none; names the line.
    """
    found: dict[int, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (match := LINE.fullmatch(line)) is None:
            raise FormatFault(
                f"{path}: line {number}",
                f"is no label description of ITK-SNAP: {line.strip()[:60]!r}",
                "export it by Segmentation, Export Label Descriptions",
            )
        if int(match[1]) != CLEAR:
            found[int(match[1])] = match[2].strip()
    if not found:
        raise FormatFault(path, "describes no label of ITK-SNAP")
    return found
