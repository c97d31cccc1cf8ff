"""Models: ONNX files, their bytes, and onnx.ModelProto."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Union

from bitfold import _core


class ModelProto(Protocol):
    """onnx.ModelProto, which need not be installed."""

    def SerializeToString(self) -> bytes: ...


@dataclass(frozen=True)
class ValueInfo:
    """An input or output of a model."""

    name: str
    #: NumPy's name of the element type, such as "float32".
    type: str
    #: None stands for a size that is known only at run time, or for an unknown shape.
    shape: tuple[int | None, ...] | None


class Model:
    """A network. ``load`` makes one from a file, bytes or onnx.ModelProto."""

    def __init__(self, core: _core.Model) -> None:
        self._core = core

    @property
    def inputs(self) -> list[ValueInfo]:
        return [ValueInfo(*info) for info in self._core.inputs]

    @property
    def outputs(self) -> list[ValueInfo]:
        return [ValueInfo(*info) for info in self._core.outputs]

    @property
    def is_quantized(self) -> bool:
        """Whether any value has a grid."""
        return self._core.is_quantized

    def save(self, path: str | os.PathLike[str], *, opset: int | None = None) -> None:
        """Writes an ONNX file. A regular file is replaced at once; on an error, nothing is written.

        ``opset``: by default that of the model, or the lowest higher one that can express the content.
        """
        self._core.save(os.fspath(path), opset)

    def to_bytes(self, *, opset: int | None = None) -> bytes:
        """The ONNX file as bytes. Raises Error for a model beyond 2 GB, which needs a file of external data."""
        with tempfile.TemporaryDirectory(prefix="bitfold-") as folder:
            path = Path(folder) / "model.onnx"
            self.save(path, opset=opset)
            if len(os.listdir(folder)) > 1:
                raise _core.Error(f"{self._core.name}: has more than 2 GB; use save()")
            return path.read_bytes()

    def __reduce__(self) -> tuple[Any, ...]:
        return _parse, (self.to_bytes(), self._core.name)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{i.name}: {i.type}{list(i.shape) if i.shape is not None else ''}" for i in self.inputs)
        return f"<bitfold.Model {self._core.name!r}, {'quantized' if self.is_quantized else 'float'}, inputs {inputs}>"


AnyModel = Union[str, "os.PathLike[str]", bytes, ModelProto, Model]


def _parse(data: bytes, name: str) -> Model:
    return Model(_core.Model.parse(data, name))


def load(model: AnyModel) -> Model:
    """Loads a model from a path, the bytes of an ONNX file, or onnx.ModelProto.

    Raises Error naming file, node and value on anything malformed.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        return Model(_core.Model.load(os.fspath(model), []))
    if isinstance(model, (bytes, bytearray, memoryview)):
        return _parse(bytes(model), "model")
    if hasattr(model, "SerializeToString"):
        return _parse(model.SerializeToString(), "model")
    raise TypeError(f"model is a {type(model).__name__}; expected a path, bytes, onnx.ModelProto or bitfold.Model")
