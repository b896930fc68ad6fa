# SPDX-License-Identifier: Apache-2.0
"""Integer arrays out of a pickle from elsewhere, which gets to run nothing.

A pickle is a program. Here it is read twice: first without running it, for instructions and names that it has no
business with; then by an unpickler that gives it stand-ins of our own in place of numpy's functions. They take down
type, shape and bytes, and refuse all else; the array is made from that. Not even numpy sees what the file says: its own
``__setstate__`` trusts flags that a file can set as it likes.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import pickle
import pickletools
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["read_integer_arrays"]

LIMIT = 2**29
"""Bytes of an unpacked file; the published cues have about 100 MB."""
INSTRUCTIONS = frozenset(
    re.findall(
        r"\w+",
        "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING "
        "SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
        "EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS "
        "PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ NEWOBJ_EX",
    )
)
"""What containers of arrays need, of protocols 0 to 5; NEWOBJ for the sake of the name that it is refused with: no
stand-in is a class."""
ONLY = "only integer arrays of numpy in a dictionary are read from it"
DAMAGE = (
    pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError, OverflowError, MemoryError,
)  # fmt: skip


class _Refused(ValueError):
    """What the file asks for, in words."""


def read_integer_arrays(path: str | os.PathLike[str], limit: int = LIMIT) -> dict[str, np.ndarray]:
    """Read a pickled dictionary of integer arrays, of Python 2 or 3, packed with gzip or not.

    Args:
        path: the file.
        limit: bytes that it may have when unpacked.

    Returns:
        The arrays by their names; flat lists and tuples of integers are arrays too (int64).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is larger, damaged, or asks for anything but integer arrays in containers; what it asks for is
            named, and none of it has been imported or run.
    """
    path = Path(path)
    data = _contents(path, limit)
    try:
        _scan(data)
        content = _Unpickler(io.BytesIO(data), fix_imports=False, encoding="latin1").load()
        if not isinstance(content, dict):
            raise _Refused(f"it holds no dictionary but a {type(content).__name__}")
        return {_key(key): _array(value, key) for key, value in content.items()}
    except _Refused as error:
        raise ValueError(f"'{path}' is refused: {error}; {ONLY}") from error
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"'{path}' is no pickle, or damaged: {reason}; {ONLY}") from error


def _contents(path: Path, limit: int) -> bytes:
    """Read the file, unpacked."""
    if not path.is_file():
        raise FileNotFoundError(f"no file '{path}'")
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            data = stream.read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"'{path}' cannot be unpacked: {error}; download it again") from error
    if len(data) > limit:
        raise ValueError(
            f"'{path}' is refused: it has more than {limit / 2**20:.0f} MiB{' unpacked' if packed else ''}, more than "
            "cues of any known data set"
        )
    return data


def _scan(data: bytes) -> None:
    """Refuse instructions and names without running anything."""
    for number, (code, argument, _) in enumerate(pickletools.genops(data)):
        if code.name == "GLOBAL":
            _stand_in(*str(argument).split(" ", 1))
        elif code.name not in INSTRUCTIONS:
            of = f" '{argument}'" if isinstance(argument, str) else ""
            raise _Refused(f"it holds the instruction {code.name}{of}")
        elif code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > number:
            raise _Refused(f"it notes a value under number {argument} after {number} instructions")


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the stand-ins alone."""

    def find_class(self, module: str, name: str) -> Any:
        """Give the stand-in of a name.

        Raises:
            _Refused: there is none.
        """
        return _stand_in(module, name)


class _Call:
    """A function that a pickle may call, and do nothing else with."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it changes a function")


class _Type:
    """The integer type of an array."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"[iu][1248]", code)):
            what = "Python objects" if isinstance(code, str) and code.startswith("O") else f"type {code!r:.40}"
            raise _Refused(f"it holds an array of {what}, not of integers")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        _, order, *fields = state[:5]
        if order not in ("<", ">", "=", "|") or any(field is not None for field in fields):
            raise _Refused("it holds an array of records, not of integers")
        self.order = order

    def array(self, raw: Any, shape: Any, fortran: bool) -> np.ndarray:
        """Make the array of these bytes."""
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # a text of Python 2
        dtype = np.dtype(self.order.replace("|", "=") + self.code)
        if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)):
            raise _Refused(f"it holds an array of shape {shape!r:.40}")
        if not isinstance(raw, (bytes, bytearray)) or math.prod(shape) * dtype.itemsize != len(raw):
            raise _Refused(f"it holds an array of shape {shape} whose bytes do not fit")
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


class _Array:
    """An array that a pickle fills in two steps."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Type):
            raise _Refused("it holds an array without a type")
        self.value = dtype.array(raw, shape, bool(fortran))


def _stand_in(module: str, name: str) -> _Call:
    """Give what a pickle gets for a name.

    Raises:
        _Refused: it gets nothing.
    """
    make = STAND_INS.get((module.replace("numpy._core.", "numpy.core."), name))
    if make is None:
        raise _Refused(f"it asks for '{module}.{name}'")
    return _Call(make)


def _new_array(*_: Any) -> _Array:
    return _Array()


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    if not isinstance(dtype, _Type):
        raise _Refused("it holds an array without a type")
    return _Array(dtype.array(raw, shape, order == "F"))


def _scalar(dtype: Any, raw: Any) -> int:
    if not isinstance(dtype, _Type):
        raise _Refused("it holds a number without a type")
    return int(dtype.array(raw, (), False))


def _encode(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("it encodes something else than bytes")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _never(*_: Any) -> None:
    raise _Refused("it makes an array by itself")


STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): _never,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,  # bytes in protocols of Python 2
    ("__builtin__", "bytes"): _no_bytes,
}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise _Refused(f"it has an entry whose name is no text but a {type(key).__name__}")
    return key


def _array(value: Any, key: Any) -> np.ndarray:
    """Give the array of an entry."""
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, (list, tuple)) and all(type(item) is int for item in value):
        return np.array(value, dtype=np.int64)
    raise _Refused(f"its entry '{key}' is no array of integers")
