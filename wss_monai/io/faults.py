# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file, as an error that a run raises and that `python -m wss_monai check` lists."""

from __future__ import annotations

import re

__all__ = ["Fault", "FormatFault", "MissingFile", "halves_of", "one_line", "printable"]

LONGEST = 2000
"""Characters of a message; of what is longer the middle is left out, since the end says what to do."""


class Fault(Exception):
    """A fault of a file that the user gave; the message is ``where: problem; todo``.

    Args:
        where: the file, and the place in it.
        problem: what is wrong.
        todo: what to do; empty where ``problem`` says it.
        kind: a short word for the sort of problem, stable over releases; empty: that of the class.
        file: the file that is meant, where it is not the one that was read.

    Attributes:
        case: the case, empty where none is meant; whoever collects faults fills it in.
    """

    kind = "format"

    def __init__(self, where: object, problem: str = "", todo: str = "", kind: str = "", file: str = "") -> None:
        told = ": ".join(str(part) for part in (where, problem) if part)
        super().__init__(f"{told}; {todo}" if todo else told)
        self.problem, self.todo, self.kind, self.file, self.case = problem, todo, kind or self.kind, file, ""


class FormatFault(Fault, ValueError):
    """A file that does not hold what it should."""


class MissingFile(Fault, FileNotFoundError):
    """A file that is named and not there."""

    kind = "missing"


def halves_of(error: Exception) -> tuple[str, str]:
    """Give what is wrong and what to do, empty where the error says no more than its message."""
    return (error.problem, error.todo) if isinstance(error, Fault) else (str(error), "")


def printable(text: str) -> str:
    """Give a text in which what no terminal shows (escape sequences, lone surrogates) is spelt out."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """Give the message of an error on one line that no terminal acts upon.

    A matrix takes several lines, and names of files may hold line breaks and escape sequences.
    """
    text = re.sub(r"[ \t]*[\r\n]+[ \t]*", " ", str(error)).strip()
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 3 // 4]} ... {text[-LONGEST // 4 :]}"
