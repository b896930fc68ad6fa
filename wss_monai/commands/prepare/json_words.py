# SPDX-License-Identifier: Apache-2.0
"""JSON objects on the command line of `prepare`, and label files of ITK-SNAP in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wss_monai.commands.words import json_or_file

__all__ = ["json_object", "values_of"]


def json_object(text: str, name: str) -> Any:
    """Read an option that is a JSON object, such as a map from file values to classes, or the file that holds it.

    Raises:
        ValueError: it is none; names the option.
    """
    try:
        content = json_or_file(text)
    except OSError as error:
        raise ValueError(f"{name}: there is no file '{text}'") from error
    except ValueError as error:
        raise ValueError(
            f'{name} must be JSON such as \'{{"0": "background", "1": "LV"}}\'; got {text!r}: {error}'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f'{name} must be a JSON object such as \'{{"0": "background", "1": "LV"}}\', got {text!r}')
    return content


def values_of(text: str, name: str, clear: str) -> Any:
    """Read an option that says what file values mean: a JSON object, or a label file of ITK-SNAP.

    Args:
        text: the JSON, or the path of the file.
        name: the option, for messages.
        clear: what ITK-SNAP's "Clear Label" means.

    Raises:
        ValueError: it is neither.
    """
    if text.lstrip().startswith("{") or text.lower().endswith(".json") or not Path(text).is_file():
        return json_object(text, name)
    from wss_monai.io.label_files import CLEAR, read_label_file

    return {str(CLEAR): clear} | {str(value): label for value, label in read_label_file(text).items()}
