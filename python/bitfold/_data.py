"""Samples from Python objects.

The library reads samples several times, and in constant memory, from files. Other data is therefore written to a temporary
folder first, one item at a time: every item is computed once, and memory does not grow with their number.
"""

from __future__ import annotations

import itertools
import os
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


def open_data(samples: Any, inputs: list[ValueInfo], folder: str, *, transform: Callable[[Any], Any] | None,
              preprocess: Mapping[str, Any] | None, limit: int | None) -> _core.Data:
    """The samples as files. ``folder`` receives those that are not files yet."""
    flags = [(key, _flag_text(value)) for key, value in (preprocess or {}).items()]
    if isinstance(samples, (str, os.PathLike)):
        if transform is not None:
            raise _core.Error("transform needs samples from Python; files are prepared by preprocess")
        return _core.Data(os.fspath(samples), flags, limit)
    writer = _Writer(Path(folder), inputs)
    count = 0
    for item in _items(samples):
        arrays, labels = _arrange(item if transform is None else transform(item), inputs)
        rows = writer.write(arrays, labels)
        count += rows
        if limit is not None and count >= limit:
            break
    if count == 0:
        raise _core.Error("the samples are empty; pass about 100 typical inputs")
    return _core.Data(str(writer.finish()), flags, limit)


def _flag_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(str(v) for v in value)
    return str(value)


def _items(samples: Any) -> Iterator[Any]:
    if hasattr(samples, "get_next"):  # onnxruntime.quantization.CalibrationDataReader
        if hasattr(samples, "rewind"):
            samples.rewind()
        yield from iter(samples.get_next, None)
    elif _is_array(samples):
        array = _to_numpy(samples)
        for first in range(0, len(array), _ROWS_AT_A_TIME):
            yield array[first:first + _ROWS_AT_A_TIME]
    elif isinstance(samples, Mapping):
        yield samples
    elif callable(samples) and not hasattr(samples, "__iter__"):
        yield from samples()
    else:
        yield from samples


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and (isinstance(value, np.ndarray) or hasattr(value, "__array__") or hasattr(value, "detach"))


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
            return [_to_numpy(part) for part in item[:-1]], np.atleast_1d(_to_numpy(item[-1]))
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
    """Writes samples as one array per input, or, once they differ in shape, as one .npz file per item."""

    def __init__(self, folder: Path, inputs: list[ValueInfo]) -> None:
        self._folder, self._inputs = folder, inputs
        self._files: list[_ArrayFile] = []
        self._labels: list[Array] = []
        self._batches: list[int] = []
        self._item_count = 0
        # Whether a run may have any number of samples along the first axis of every input, or exactly one.
        self._has_rows = all(i.shape is not None and len(i.shape) > 0 and i.shape[0] in (None, 1) for i in inputs)

    def write(self, arrays: list[Array], labels: Array | None) -> int:
        """Returns the number of samples in the item."""
        arrays = [self._with_batch_axis(array, info) for array, info in zip(arrays, self._inputs)]
        if self._has_rows and not self._fits_rows(arrays):
            self._split()
        if not self._has_rows:
            self._write_item(arrays)
            return 1
        if not self._files:
            self._files = [_ArrayFile(self._folder / f"{i}.npy", array) for i, array in enumerate(arrays)]
        for file, array in zip(self._files, arrays):
            file.append(array)
        self._batches.append(len(arrays[0]))
        if labels is not None and labels.dtype.kind in "iu" and labels.shape == (len(arrays[0]),):
            self._labels.append(labels)
        return len(arrays[0])

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

    @staticmethod
    def _with_batch_axis(array: Array, info: ValueInfo) -> Array:
        if info.type.startswith("float") and array.dtype.kind == "f" and array.dtype != np.dtype(info.type):
            array = array.astype(info.type)
        if info.shape is not None and array.ndim == len(info.shape) - 1:
            array = array[np.newaxis]
        is_pixels = array.dtype == np.uint8 and info.type.startswith("float")  # prepared by preprocess
        is_other_type = not is_pixels and info.type in np.sctypeDict and array.dtype.kind != np.dtype(info.type).kind
        if is_other_type or (info.shape is not None and array.ndim != len(info.shape)):
            raise _core.Error(f"a sample of input '{info.name}' is {array.dtype} of shape {array.shape}; expected "
                              f"{info.type} of shape {info.shape}, or one sample without the first axis")
        return array

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
        named = {info.name: array for info, array in zip(self._inputs, arrays)}
        path = self._folder / "items" / f"{self._item_count:08}.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, array in named.items():
                with archive.open(name + ".npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        self._item_count += 1
