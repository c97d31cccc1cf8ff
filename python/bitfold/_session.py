"""Running networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from bitfold import _core
from bitfold._fork import check_forked
from bitfold._model import AnyModel, Model, ValueInfo, load


@dataclass(frozen=True)
class Step:
    """One step of a session's plan."""

    #: The name of the node, or of the last node fused into the step.
    name: str
    #: "Conv+Relu".
    op: str
    #: The kernel that runs it.
    kernel: str
    is_integer: bool
    #: Multiply-accumulates per run.
    macs: int
    #: Median time in microseconds.
    time_us: float


class Session:
    """Runs a network, in integers where it is quantized.

        session = bitfold.Session("model.int8.onnx", threads=2)
        outputs = session.run({"x": array})

    ``threads``: 0 means all cores. ``run`` releases the interpreter's lock and may be called from several threads at
    once; each call uses ``threads`` threads. Raises Error naming what cannot be run.
    """

    def __init__(self, model: AnyModel, threads: int = 1) -> None:
        check_forked(threads)
        self._model = load(model)
        self._runner = _core.Runner(self._model._core.optimized(), threads)

    @overload
    def run(self, output_names: Mapping[str, Any], /) -> dict[str, Any]: ...
    @overload
    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any],
            run_options: object = None) -> list[Any]: ...

    def run(self, output_names: Any, input_feed: Any = None, run_options: object = None) -> Any:
        """Runs the network once.

        ``run({"x": array})`` returns a dictionary of arrays by output name. ``run(names or None, {"x": array})``
        returns a list, as onnxruntime.InferenceSession does. Contiguous arrays of the input's type are read without a
        copy. Raises Error naming the input whose type or shape does not fit.
        """
        check_forked(self.threads)
        if input_feed is None:
            if not isinstance(output_names, Mapping):
                raise TypeError(f"run expects a dictionary of arrays by input name, not a {type(output_names).__name__}")
            return self._runner.run(output_names if type(output_names) is dict else dict(output_names))
        results = self._runner.run(dict(input_feed))
        if not output_names:
            return list(results.values())
        names = [output_names] if isinstance(output_names, str) else output_names
        missing = [name for name in names if name not in results]
        if missing:
            raise _core.Error(f"{self._model._core.name}: '{missing[0]}' is not an output; the outputs are "
                              + ", ".join(f"'{name}'" for name in results))
        return [results[name] for name in names]

    __call__ = run

    @property
    def inputs(self) -> list[ValueInfo]:
        return self._model.inputs

    @property
    def outputs(self) -> list[ValueInfo]:
        return self._model.outputs

    def get_inputs(self) -> list[ValueInfo]:
        """As onnxruntime.InferenceSession."""
        return self.inputs

    def get_outputs(self) -> list[ValueInfo]:
        """As onnxruntime.InferenceSession."""
        return self.outputs

    @property
    def threads(self) -> int:
        return self._runner.threads

    @property
    def model(self) -> Model:
        return self._model

    def profile(self, feeds: Mapping[str, Any]) -> list[Step]:
        """The time of each step, measured for about a second."""
        return [Step(*step) for step in self._runner.profile(dict(feeds))]

    def __reduce__(self) -> tuple[Any, ...]:
        return Session, (self._model, self.threads)

    def __repr__(self) -> str:
        return f"<bitfold.Session of {self._model!r}, threads={self.threads}>"
