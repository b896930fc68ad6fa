# SPDX-License-Identifier: Apache-2.0
"""Pickles that are read, and pickles that must not run."""

from __future__ import annotations

import builtins
import gzip
import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest

from wss_monai.io.integer_pickle import read_integer_arrays

ARRAYS = {
    "0_cues": np.array([[0, 2], [40, 3], [1, 40]]),
    "0_labels": np.array([2]),
    "small": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "big_endian": np.arange(3, dtype=">i4"),
    "columns_first": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "empty": np.zeros((3, 0), np.int64),
}


def write(path, data, packed=False):
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype.newbyteorder("=") and np.array_equal(found[name], array)
    return True


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol(tmp_path, protocol, packed):
    path = write(tmp_path / "cues.pickle", pickle.dumps(ARRAYS, protocol), packed)
    assert same(read_integer_arrays(path), ARRAYS)


def python_2(arrays):
    """What cPickle of Python 2 writes with protocol 2: texts and bytes are BINSTRING, numpy's old names."""

    def text(value):
        value = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    out, memo = io.BytesIO(), 1
    out.write(b"\x80\x02}q\x01(")
    for name, array in arrays.items():
        memo += 1
        out.write(text(name) + b"r" + struct.pack("<I", memo))
        out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01(")
        out.write(b"".join(number(n) for n in array.shape) + b"t")
        out.write(b"cnumpy\ndtype\n" + text(array.dtype.str[1:]) + b"K\x00K\x01\x87R")
        out.write(b"(K\x03" + text("<") + b"NNN" + number(-1) * 2 + b"K\x00tb")
        out.write(b"\x89" + text(array.tobytes()) + b"tb")
    out.write(b"u.")
    return out.getvalue()


def test_arrays_of_python_2(tmp_path):
    arrays = {"7_cues": np.array([[0, 200], [3, 4], [5, 2**40]]), "7_labels": np.array([200, 255])}
    data = python_2(arrays)
    assert same(pickle.loads(data, encoding="latin1"), arrays)  # the pickle is a right one
    assert same(read_integer_arrays(write(tmp_path / "cues.pickle", data)), arrays)


def test_lists_and_scalars_of_integers(tmp_path):
    data = pickle.dumps({"a": [1, 2], "b": (3,), "c": [np.int64(5), np.int64(7)]})
    found = read_integer_arrays(write(tmp_path / "cues.pickle", data))
    assert {name: array.tolist() for name, array in found.items()} == {"a": [1, 2], "b": [3], "c": [5, 7]}


class Reduce:
    """Pickled as a call."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


class Own(np.ndarray):
    """A subclass of an array."""


class Plain:
    """An object of a class."""


def persistent():
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "elsewhere" if value == "a" else None

    out = io.BytesIO()
    Pickler(out, 2).dump({"b": "a"})
    return out.getvalue()


def hostile(mark):
    shell = Reduce(os.system, (f"touch '{mark}'",))
    code = Reduce(builtins.eval, (f"open({str(mark)!r}, 'w')",))
    return {
        "a shell": (pickle.dumps(shell), r"asks for '(posix|nt).system'"),
        "a shell in protocol 0": (pickle.dumps(shell, 0), r"asks for '(posix|nt).system'"),
        "eval": (pickle.dumps(code), "asks for 'builtins.eval'"),
        "eval of Python 2": (b"c__builtin__\neval\n(S'1'\ntR.", "asks for '__builtin__.eval'"),
        "nested": (pickle.dumps({"0_labels": [1, ({"x": [code]},)]}), "asks for 'builtins.eval'"),
        "behind arrays": (pickle.dumps(ARRAYS | {"z": shell}), r"asks for '(posix|nt).system'"),
        "a key": (pickle.dumps({Reduce(os.getcwd, ()): 1}), r"asks for '(posix|nt).getcwd'"),
        "numpy that loads": (pickle.dumps(Reduce(np.load, (str(mark),))), r"asks for 'numpy(\.lib.*)?\.load'"),
        "numpy that maps a file": (pickle.dumps(Reduce(np.memmap, (str(mark), "u1", "w+", 0, 8))), "'numpy.memmap'"),
        "a path in a name": (b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.", "asks for 'numpy.dtype.__new__'"),
        "a subclass": (pickle.dumps({"a": np.zeros(2, int).view(Own)}), r"asks for '.*test_integer_pickle\.Own'"),
        "a constructor": (pickle.dumps({"a": Reduce(np.ndarray, ((2,),))}), "makes an array by itself"),
        "objects": (pickle.dumps({"a": np.array([code, None], object)}, 2), "asks for '__builtin__.eval'"),
        "only objects": (pickle.dumps({"a": np.array([None], object)}), "array of Python objects"),
        "records": (pickle.dumps({"a": np.zeros(2, [("x", "i4")])}), "array of type 'V4'"),
        "floats": (pickle.dumps({"a": np.zeros(2)}), "array of type 'f8'"),
        "texts": (pickle.dumps({"a": np.array(["b"])}), "array of type 'U1'"),
        "a persistent id": (persistent(), "instruction BINPERSID"),
        "a persistent id in protocol 0": (b"Pelsewhere\n.", "instruction PERSID 'elsewhere'"),
        "an extension": (b"\x80\x02\x82\x01.", "instruction EXT1"),
        "an instance": (b"(S'touch x'\nios\nsystem\n.", "instruction INST 'os system'"),
        "a new object": (pickle.dumps(Plain(), 2), r"asks for '.*test_integer_pickle\.Plain"),
        "a new object in protocol 4": (pickle.dumps({"a": Plain()}, 4), r"asks for '.*test_integer_pickle\.Plain"),
        "a new array": (b"\x80\x02cnumpy\nndarray\nK\x02\x85\x85\x81.", "no pickle, or damaged: NEWOBJ"),
        "state of a function": (b"\x80\x02cnumpy\ndtype\n}b.", "changes a function"),
        "attributes of a function": (b"\x80\x02cnumpy\ndtype\nN}U\x05_makeK\x01s\x86b.", "changes a function"),
        "a set": (pickle.dumps({"a": {1}}), "instruction EMPTY_SET"),
        "a far memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "under number 2147483647 after 2"),
        "a codec": (b"c_codecs\nencode\n(V1\nVrot13\ntR.", "encodes something else"),
        "bytes": (b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.", "no pickle, or damaged"),
        "a list": (pickle.dumps([1]), "no dictionary but a list"),
        "a number for a name": (pickle.dumps({1: ARRAYS["small"]}), "whose name is no text but a int"),
        "a text for an array": (pickle.dumps({"a": "b"}), "entry 'a' is no array"),
        "an array that is not filled": (
            b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rs.",
            "entry 'a' is no array",
        ),
        "too few bytes": (python_2({"a": np.arange(3)}).replace(b"J\x03\0\0\0t", b"J\x04\0\0\0t"), "bytes do not fit"),
        "a negative shape": (python_2({"a": np.arange(1)}).replace(b"J\x01\0\0\0t", b"J\xff\xff\xff\xfft"), "shape"),
        "nothing": (b"", "no pickle, or damaged"),
        "cut": (pickle.dumps(ARRAYS)[:-40], "no pickle, or damaged"),
        "text": (b"2007_000032.jpg 0\n", "no pickle, or damaged|refused"),
        "a length that lies": (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.", "no pickle, or damaged"),
        "an empty stack": (b"\x80\x02R.", "no pickle, or damaged"),
    }


@pytest.mark.parametrize("kind", list(hostile("x")))
@pytest.mark.parametrize("packed", [False, True])
def test_everything_else_is_refused_and_does_nothing(tmp_path, monkeypatch, kind, packed):
    mark = tmp_path / "ran"
    data, message = hostile(mark)[kind]

    def ran(*_, **__):
        raise AssertionError("it ran")

    path = write(tmp_path / "cues.pickle", data, packed)
    for module, name in ((np, "load"), (np, "memmap"), (os, "system")):
        monkeypatch.setattr(module, name, ran)
    with pytest.raises(ValueError, match=message) as error:
        read_integer_arrays(path)
    assert not mark.exists()
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_names_are_seen_before_anything_is_read(tmp_path, monkeypatch):
    """A name that the file itself writes out stops it before the unpickler starts."""
    monkeypatch.setattr("wss_monai.io.integer_pickle._Unpickler", None)
    for protocol in range(4):
        path = write(tmp_path / "cues.pickle", pickle.dumps(ARRAYS | {"z": Reduce(os.getcwd, ())}, protocol))
        with pytest.raises(ValueError, match="getcwd"):
            read_integer_arrays(path)


def test_flags_that_would_make_numpy_read_addresses(tmp_path):
    """numpy's own dtype takes flags from a file, which turn bytes into pointers; the stand-in takes none."""
    data = python_2({"a": np.array([2**40])}).replace(b"T\x02\0\0\0i8", b"T\x02\0\0\0O8")
    assert any(argument == "O8" for _, argument, _ in pickletools.genops(data))
    with pytest.raises(ValueError, match="array of Python objects"):
        read_integer_arrays(write(tmp_path / "cues.pickle", data))


def test_a_bomb_is_not_unpacked(tmp_path):
    path = write(tmp_path / "cues.pickle.gz", b"\0" * 2**21, packed=True)
    assert path.stat().st_size < 2**14
    with pytest.raises(ValueError, match="refused: it has more than 1 MiB unpacked"):
        read_integer_arrays(path, limit=2**20)
    with pytest.raises(ValueError, match="refused: it has more than 1 MiB, more"):
        read_integer_arrays(write(tmp_path / "cues.pickle", b"\0" * 2**21), limit=2**20)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file '.*nothing'"):
        read_integer_arrays(tmp_path / "nothing")
    cut = write(tmp_path / "cut.gz", gzip.compress(pickle.dumps(ARRAYS))[:-30])
    with pytest.raises(ValueError, match=r"cannot be unpacked.*download it again"):
        read_integer_arrays(cut)
