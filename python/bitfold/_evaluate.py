"""Comparing a float and a quantized network, and measuring accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bitfold import _core
from bitfold._data import Samples, open_data, temporary_folder
from bitfold._fork import check_forked
from bitfold._model import AnyModel, load
from bitfold._progress import ProgressBar, reports


@dataclass(frozen=True)
class ValueComparison:
    """The error of a quantized value compared with the float one, over all samples."""

    value: str
    node: str
    op: str
    #: Signal to quantization noise in dB; infinite if equal.
    sqnr_db: float
    max_abs_error: float
    #: Bits of its grid; 0 for float.
    bits: int


@dataclass(frozen=True)
class Comparison:
    """Two networks on the same samples."""

    sample_count: int
    #: Fraction of samples with the same predicted class; None if the first output is not a vector of scores.
    top1_agreement: float | None
    #: Of the first output, in dB.
    sqnr_db: float
    max_abs_error: float
    outputs: list[ValueComparison]
    layers: list[ValueComparison]

    def __str__(self) -> str:
        lines = [f"{o.value}: {o.sqnr_db:.1f} dB, largest error {o.max_abs_error:.4g}" for o in self.outputs]
        if self.top1_agreement is not None:
            lines.insert(0, f"same class on {100 * self.top1_agreement:.2f} % of {self.sample_count} samples")
        return "\n".join(lines)


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of a network."""

    sample_count: int
    #: Fractions; None without labels. top5 is None with fewer than 6 classes.
    top1: float | None
    top5: float | None
    #: Median time of one sample at batch 1 on one thread, in microseconds.
    latency_us: float


def _errors(values: list[_core.ValueError]) -> list[ValueComparison]:
    return [ValueComparison(v.value, v.node, v.op, v.sqnr_db, v.max_abs_error, v.bits) for v in values]


def compare(float_model: AnyModel, quantized_model: AnyModel, data: Samples, *,
            transform: Callable[[Any], Any] | None = None, preprocess: Mapping[str, Any] | None = None,
            limit: int | None = None, threads: int = 0, progress: bool = True) -> Comparison:
    """Runs both networks on the same samples, which take the forms of ``quantize``.

    Raises Error if the networks differ in their inputs or outputs.
    """
    check_forked(threads)
    float_core, quantized_core = load(float_model)._core.optimized(), load(quantized_model)._core
    with temporary_folder() as folder, ProgressBar(progress) as bar:
        samples = open_data(data, load(float_model).inputs, folder, transform=transform, preprocess=preprocess, limit=limit)
        result = _core.compare(float_core, quantized_core, samples, threads, reports(bar, folder))
    return Comparison(result.sample_count, result.top1_agreement, result.sqnr_db, result.max_abs_error,
                      _errors(result.outputs), _errors(result.layers))


def evaluate(model: AnyModel, data: Samples, *, transform: Callable[[Any], Any] | None = None,
             preprocess: Mapping[str, Any] | None = None, limit: int | None = None, threads: int = 0,
             progress: bool = True) -> Evaluation:
    """Measures accuracy and latency. The samples have labels: tuples of an input and its class, or files with labels.

    Raises Error if the data has labels but the first output is not a vector of scores.
    """
    check_forked(threads)
    loaded = load(model)
    with temporary_folder() as folder, ProgressBar(progress) as bar:
        samples = open_data(data, loaded.inputs, folder, transform=transform, preprocess=preprocess, limit=limit,
                            needs_labels=True)
        result = _core.evaluate(loaded._core.optimized(), samples, threads, reports(bar, folder))
    return Evaluation(result.sample_count, result.top1, result.top5, result.latency_us)
