# SPDX-License-Identifier: Apache-2.0
"""Cases that fail while the others of a folder go on."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from wss_monai.bundle.user_errors import find_user_error, is_user_error

__all__ = ["CasesFailedError", "raise_failures", "reason_of"]

NO_MEMORY = "it does not fit into memory"


class CasesFailedError(ValueError):
    """Some cases of a folder could not be done; the others are."""

    exit_code = 1


def reason_of(error: BaseException) -> str | None:
    """Why a case cannot be used, in one line; None where the error says nothing of the case and has to end the run."""
    cause = find_user_error(error)
    if isinstance(cause, MemoryError):
        return NO_MEMORY
    return " ".join(str(cause).split()) if is_user_error(cause) or isinstance(cause, EOFError) else None


def raise_failures(failed: Mapping[str, str], cases: int, what: str) -> None:
    """Print each case that failed, and end with how many did; where none did nothing happens.

    Args:
        failed: case -> why.
        cases: of all.
        what: what became of them, such as "have no scores".

    Raises:
        CasesFailedError: there are some.
    """
    if not failed:
        return
    for case, why in failed.items():
        print(f"failed: {case}: {why}", file=sys.stderr)
    raise CasesFailedError(f"{len(failed)} of {cases} cases failed, named above, and {what}; the others are done.")
