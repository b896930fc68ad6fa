# SPDX-License-Identifier: Apache-2.0
"""The file of a training checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wss_monai.handlers.load_weights import contents, read_file
from wss_monai.io.atomic_files import replacing

__all__ = ["FORMAT", "read_checkpoint", "save_atomically"]

FORMAT = 2
KEYS = ("epoch", "iteration", "max_epochs", "settings", "kinds", "objects", "random", "best", "scaler")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a training checkpoint, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unreadable file or not a training checkpoint of this package.
    """
    advice = "choose another --output_dir, or remove the file to start from the beginning"
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}.")
    content = read_file(path, advice)
    if not isinstance(content, dict) or not {"format", "epoch", "objects"} <= set(content):
        raise ValueError(f"{path} is no training checkpoint of this package: it holds {contents(content)}; {advice}.")
    if content["format"] != FORMAT:
        kind = "an older" if isinstance(content["format"], int) and content["format"] < FORMAT else "a newer or unknown"
        raise ValueError(
            f"{path} was written by {kind} version of this package (format {content['format']}, here {FORMAT}) and "
            f"cannot be continued; {advice}, or install that version. model.pt beside it can be evaluated all the same."
        )
    lacking = [key for key in KEYS if key not in content]
    if lacking:
        raise ValueError(f"{path} is no whole training checkpoint: it lacks {lacking}; {advice}.")
    return content


def save_atomically(content: Any, path: Path) -> None:
    """Write with ``torch.save`` to a temporary file, then put it in its place: a failure leaves the former file whole.

    Raises:
        OSError: nothing could be written; names the file.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # of which PyTorch makes an "unexpected pos"
                raise error.__context__ from None
            raise
