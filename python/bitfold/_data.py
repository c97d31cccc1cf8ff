"""Samples from Python objects.

The library reads samples several times, and in constant memory, from files. Other data is therefore written to a temporary
folder first, one item at a time: every item is computed once, and memory does not grow with their number.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Union

import numpy as np
from numpy.typing import NDArray

from bitfold import _core
from bitfold._model import ValueInfo

Array = NDArray[Any]
#: A path, an array, a dictionary of arrays, or anything that yields arrays, tuples or dictionaries.
Samples = Union[str, "os.PathLike[str]", Array, Mapping[str, Any], Iterable[Any], Callable[[], Iterable[Any]]]

_ROWS_AT_A_TIME = 64
_HEADER_BYTES = 256
_REALS = ("float16", "float32", "float64")
#: The types of ml_dtypes, with the names that inputs have.
_BITS = {"bfloat16": "bfloat16", "float8_e4m3fn": "float8e4m3fn", "float8_e4m3fnuz": "float8e4m3fnuz",
         "float8_e5m2": "float8e5m2", "float8_e5m2fnuz": "float8e5m2fnuz", "float8_e8m0fnu": "float8e8m0"}


def open_data(samples: Any, inputs: list[ValueInfo], folder: str, *, transform: Callable[[Any], Any] | None,
              preprocess: Mapping[str, Any] | None, limit: int | None, needs_labels: bool = False) -> _core.Data:
    """The samples as files. ``folder`` receives those that are not files yet."""
    flags = [(str(key), _flag_text(value)) for key, value in dict(preprocess or {}).items()]
    if limit is not None and limit < 1:
        raise _core.Error(f"limit is {limit}; it must be at least 1")
    if samples is None:
        raise _core.Error("the samples are None; pass a path, an array, or an iterable of samples")
    if isinstance(samples, (str, os.PathLike)):
        if transform is not None:
            raise _core.Error("transform needs samples from Python; files are prepared by preprocess")
        return _core.Data(os.fspath(samples), flags, limit)
    writer = _Writer(Path(folder), inputs)
    count = 0
    for item, has_rows in _items(samples, inputs):
        arrays, labels = _arrange(item if transform is None else transform(item), inputs)
        count += writer.write(arrays, labels, has_rows, needs_labels)
        if limit is not None and count >= limit:
            break
    if count == 0:
        raise _core.Error("the samples are empty; pass about 100 typical inputs")
    return _core.Data(str(writer.finish()), flags, limit)


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder for samples. Errors about its files speak of the samples instead."""
    with tempfile.TemporaryDirectory(prefix="bitfold-") as folder:
        try:
            yield folder
        except _core.Error as error:
            if folder not in str(error):
                raise
            raise _core.Error(without_folder(str(error), folder)) from None


def without_folder(text: str, folder: str) -> str:
    return re.sub(rf"'?{re.escape(folder)}[^':]*'?", "the samples", text)


def _flag_text(value: Any) -> str:
    """The text of a flag: (320, 240) is "320x240", and [0.1, 0.2, 0.3] is "0.1,0.2,0.3"."""
    if isinstance(value, tuple) and len(value) == 2:
        return "x".join(_flag_text(v) for v in value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return ",".join(_flag_text(v) for v in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _items(samples: Any, inputs: list[ValueInfo]) -> Iterator[tuple[Any, bool]]:
    """Items, and whether the first axis of their arrays counts samples."""
    if isinstance(samples, memoryview):
        samples = np.asarray(samples)
    if hasattr(samples, "get_next"):  # onnxruntime.quantization.CalibrationDataReader
        if hasattr(samples, "rewind"):
            samples.rewind()
        yield from ((item, False) for item in iter(samples.get_next, None))
    elif _is_array(samples) or isinstance(samples, Mapping):
        arrays = _arrange(samples, inputs)[0]
        lengths = {len(array) if array.ndim else 0 for array in arrays}
        if len(lengths) != 1:
            raise _core.Error("the arrays have different numbers of samples: "
                              + ", ".join(f"'{i.name}' {a.shape}" for i, a in zip(inputs, arrays)))
        rows = _rows_at_a_time(inputs)
        for first in range(0, lengths.pop(), rows):
            parts = {i.name: array[first:first + rows] for i, array in zip(inputs, arrays)}
            yield parts if isinstance(samples, Mapping) else parts[inputs[0].name], True
    elif callable(samples) and not hasattr(samples, "__iter__"):
        yield from ((item, False) for item in samples())
    elif hasattr(samples, "__iter__"):
        yield from ((item, False) for item in samples)
    else:
        raise _core.Error(f"the samples are a {type(samples).__name__}; pass a path, an array, or an iterable of samples")


def _rows_at_a_time(inputs: list[ValueInfo]) -> int:
    """A fixed batch of the network, or a number of samples that needs little memory at a time."""
    fixed = {i.shape[0] for i in inputs if i.shape} - {None, 1}
    if len(fixed) == 1:
        return int(fixed.pop() or 1)
    return _ROWS_AT_A_TIME if all(i.shape for i in inputs) else 1


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "__array__") or hasattr(value, "detach")


def _to_numpy(value: Any) -> Array:
    if hasattr(value, "detach"):  # torch.Tensor
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _arrange(item: Any, inputs: list[ValueInfo]) -> tuple[list[Array], Array | None]:
    """The arrays of an item in the order of the inputs, and its labels if it has any."""
    if isinstance(item, Mapping):
        missing = [info.name for info in inputs if info.name not in item]
        if missing and len(item) == len(inputs) == 1:
            return [_to_numpy(next(iter(item.values())))], None
        if missing:
            raise _core.Error(f"a sample lacks input '{missing[0]}'; it has {', '.join(map(repr, item)) or 'nothing'}")
        return [_to_numpy(item[info.name]) for info in inputs], None
    if isinstance(item, (tuple, list)) and any(_is_array(part) for part in item):
        if len(item) == len(inputs):
            return [_to_numpy(part) for part in item], None
        if len(item) == len(inputs) + 1:
            arrays = [_to_numpy(part) for part in item]
            if arrays[-1].dtype.kind not in "f" or arrays[-1].shape != arrays[0].shape:
                return arrays[:-1], np.atleast_1d(arrays[-1])
        raise _core.Error(f"a sample is a {type(item).__name__} of {len(item)} values; the network has {len(inputs)} "
                          "inputs; pass a transform that returns a dictionary by input name")
    if len(inputs) != 1:
        raise _core.Error(f"a sample is a {type(item).__name__}; the network has {len(inputs)} inputs; pass a "
                          "dictionary by input name, or a tuple in their order")
    return [_to_numpy(item)], None


class _ArrayFile:
    """An .npy file to which rows are appended."""

    def __init__(self, path: Path, first: Array) -> None:
        self.path, self.dtype, self.row_shape, self.rows = path, first.dtype, first.shape[1:], 0
        self._file: BinaryIO = open(path, "wb")
        self._file.write(b" " * _HEADER_BYTES)

    def fits(self, array: Array) -> bool:
        return array.dtype == self.dtype and array.shape[1:] == self.row_shape

    def append(self, array: Array) -> None:
        self._file.write(np.ascontiguousarray(array).data if array.size else b"")
        self.rows += len(array)

    def close(self) -> None:
        description = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False,
                       "shape": (self.rows, *self.row_shape)}
        text = repr(description).encode("latin1")
        text = text.ljust(_HEADER_BYTES - 11) + b"\n"
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        self._file.close()


class _Writer:
    """Writes samples as one array per input, or as one .npz file per item.

    An array needs items whose first axis counts samples: those with one row, with a label for each row, or cut from a
    larger array. Any other item is one run, because its first axis may be a length.
    """

    def __init__(self, folder: Path, inputs: list[ValueInfo]) -> None:
        self._folder, self._inputs = folder, inputs
        self._files: list[_ArrayFile] = []
        self._labels: list[Array] = []
        self._batches: list[int] = []
        self._item_count = 0
        self._has_rows = all(i.shape is not None and len(i.shape) > 0 and i.shape[0] in (None, 1) for i in inputs)

    def write(self, arrays: list[Array], labels: Array | None, has_rows: bool, needs_labels: bool) -> int:
        """Returns the number of samples in the item."""
        arrays = [_as_input(array, info) for array, info in zip(arrays, self._inputs)]
        rows = len(arrays[0]) if arrays[0].ndim > 0 else 0
        if labels is not None and labels.shape == (rows, 1):
            labels = labels[:, 0]
        has_labels = labels is not None and labels.dtype.kind in "iu" and labels.shape == (rows,)
        if needs_labels and labels is not None and not has_labels:
            raise _core.Error(f"the labels of a sample are {labels.dtype} of shape {labels.shape}; expected one integer for "
                              f"each of its {rows} rows")
        is_array = (has_rows or has_labels or rows == 1) and self._fits_rows(arrays)
        if self._has_rows and not is_array:
            self._split()
        if not self._has_rows:
            if needs_labels and has_labels:
                raise _core.Error("samples with labels must have equal shapes, and one input with an open first axis")
            self._write_item(arrays)
            return 1
        if not self._files:
            self._files = [_ArrayFile(self._folder / f"{i}.npy", array) for i, array in enumerate(arrays)]
        for file, array in zip(self._files, arrays):
            file.append(array)
        self._batches.append(rows)
        if labels is not None and has_labels:
            self._labels.append(labels)
        labelled = sum(map(len, self._labels))
        if needs_labels and labelled not in (0, self._files[0].rows):
            raise _core.Error(f"{labelled} of {self._files[0].rows} samples have labels; give all of them one, or none")
        return rows

    def finish(self) -> Path:
        """The file or folder of the samples."""
        if not self._has_rows:
            return self._folder / "items"
        for file in self._files:
            file.close()
        names = [info.name for info in self._inputs]
        has_labels = len(names) == 1 and sum(map(len, self._labels)) == self._files[0].rows
        if len(names) == 1 and not has_labels:
            return self._files[0].path
        if has_labels:
            names = ["x"]
        path = self._folder / "samples.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, file in zip(names, self._files):
                archive.write(file.path, name + ".npy")
                file.path.unlink()
            if has_labels:
                np.save(self._folder / "labels.npy", np.concatenate(self._labels).astype(np.int64))
                archive.write(self._folder / "labels.npy", "y.npy")
        return path

    def _fits_rows(self, arrays: list[Array]) -> bool:
        if any(array.ndim == 0 or len(array) != len(arrays[0]) for array in arrays):
            return False
        return not self._files or all(file.fits(array) for file, array in zip(self._files, arrays))

    def _split(self) -> None:
        """Divides the rows written so far into items."""
        self._has_rows = False
        for file in self._files:
            file.close()
        if not self._files:
            return
        arrays = [np.load(file.path, mmap_mode="r") for file in self._files]
        for first, last in itertools.pairwise(itertools.accumulate(self._batches, initial=0)):
            self._write_item([array[first:last] for array in arrays])
        for file in self._files:
            file.path.unlink()

    def _write_item(self, arrays: list[Array]) -> None:
        (self._folder / "items").mkdir(exist_ok=True)
        path = self._folder / "items" / f"{self._item_count:08}.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for info, array in zip(self._inputs, arrays):
                with archive.open(info.name + ".npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        self._item_count += 1


def _as_input(array: Array, info: ValueInfo) -> Array:
    """The array with a batch axis, and in the input's width of reals where NumPy has it."""
    if array.dtype.name in _BITS:  # a type of ml_dtypes, which files hold as its bits
        if _BITS[array.dtype.name] != info.type and array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        else:
            array = array.view(f"u{array.dtype.itemsize}")
    elif info.type in _REALS and array.dtype.kind == "f" and array.dtype != np.dtype(info.type):
        array = array.astype(info.type)
    elif info.type in ("int32", "int64") and array.dtype.kind in "iu":
        array = array.astype(info.type, casting="same_kind") if array.dtype.itemsize <= 8 else array
    if info.shape is not None and array.ndim == len(info.shape) - 1:
        array = array[np.newaxis]
    is_pixels = array.dtype == np.uint8 and info.type in _REALS  # prepared by preprocess
    wanted = {**dict.fromkeys(_REALS, "f"), "bool": "b"}.get(info.type, "iu" if "int" in info.type else None)
    is_other_type = wanted is not None and not is_pixels and array.dtype.kind not in wanted
    if is_other_type or (info.shape is not None and array.ndim != len(info.shape)):
        raise _core.Error(f"a sample of input '{info.name}' is {array.dtype} of shape {array.shape}; expected {info.type} "
                          f"of shape {info.shape}, or one sample without the first axis")
    return array
