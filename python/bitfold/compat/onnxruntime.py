"""quantize_static with the signature of onnxruntime.quantization.

    from bitfold.compat.onnxruntime import quantize_static

is the whole migration. The file that is written has QuantizeLinear and DequantizeLinear nodes, which ONNX Runtime fuses.
Settings that are not given are Bitfold's own, which are more accurate than those of ONNX Runtime: one grid per output
channel, and ranges of least squared error.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from bitfold import _core
from bitfold._model import AnyModel, Model, load
from bitfold._progress import logger
from bitfold._quantize import _names, quantize

_OBSERVERS = {"MinMax": "min_max", "Entropy": "entropy", "Percentile": "percentile"}
_BITS = {"QInt8": 8, "QUInt8": 8, "QInt16": 16, "QUInt16": 16, "QInt4": 4, "QUInt4": 4}


@functools.cache
def _warn_once(text: str) -> None:
    logger.warning("quantize_static: %s", text)


def _name(value: Any) -> str:
    """The name of an enumerator, or of one given as text: QuantType.QInt8 and "QInt8"."""
    return str(getattr(value, "name", value))


def _bits(option: str, value: Any, valid: Sequence[int]) -> int | None:
    if value is None:
        return None
    bits = _BITS.get(_name(value))
    if bits not in valid:
        raise _core.Error(f"quantize_static: {option} is {_name(value)}; Bitfold has "
                          + ", ".join(name for name, width in _BITS.items() if width in valid))
    return bits


def _skipped(model: Model, op_types: Sequence[str] | str | None, nodes: Sequence[str] | str | None,
             excluded: Sequence[str] | str | None) -> list[str]:
    """The nodes of the optimized network to leave in float. The options name nodes of the original network."""
    original = model._core.nodes
    types = {name: op for name, op, _ in original}
    producers = {value: name for name, _, outputs in original for value in outputs}
    known_types = set(types.values())
    for option, given, known in (("op_types_to_quantize", op_types, known_types), ("nodes_to_quantize", nodes, set(types)),
                                 ("nodes_to_exclude", excluded, set(types))):
        for name in _names(given):
            if name not in known:
                logger.warning("quantize_static: %s: the network has no '%s'", option, name)
    skipped = []
    for name, op, outputs in model._core.optimized().nodes:
        # A fused node has the name of one of its parts, and the output of the last.
        parts = {name, *(producers[value] for value in outputs if value in producers)}
        has_type = not op_types or bool({op, *(types[part] for part in parts if part in types)} & {*_names(op_types)})
        is_named = not nodes or bool(parts & {*_names(nodes)})
        if not has_type or not is_named or parts & {*_names(excluded)}:
            skipped.append(name)
    return skipped


def quantize_static(model_input: AnyModel, model_output: str | os.PathLike[str], calibration_data_reader: Any = None,
                    quant_format: Any = None, op_types_to_quantize: Sequence[str] | None = None,
                    per_channel: bool | None = None, reduce_range: bool = False, activation_type: Any = None,
                    weight_type: Any = None, nodes_to_quantize: Sequence[str] | None = None,
                    nodes_to_exclude: Sequence[str] | None = None, use_external_data_format: bool = False,
                    calibrate_method: Any = None, calibration_providers: Any = None,
                    extra_options: Mapping[str, Any] | None = None, calibration_cache_path: Any = None) -> None:
    """Quantizes ``model_input`` with the samples of the reader, and writes ``model_output``.

    Options that have no meaning in Bitfold are named by a warning, once. Raises bitfold.Error.
    """
    if calibration_data_reader is None:
        raise _core.Error("quantize_static: calibration_data_reader is None; Bitfold has no calibration cache")
    options = dict(extra_options or {})
    settings: dict[str, Any] = {
        "target": "any",
        "weight_bits": _bits("weight_type", weight_type, (4, 8)),
        "activation_bits": _bits("activation_type", activation_type, (8, 16)),
    }
    if per_channel is not None:
        settings["granularity"] = "per_channel" if per_channel else "per_tensor"
    if calibrate_method is not None:
        observers = {key.lower(): value for key, value in _OBSERVERS.items()}
        settings["observer"] = observers.get(_name(calibrate_method).lower())
        if settings["observer"] is None:
            _warn_once(f"calibrate_method {_name(calibrate_method)} is replaced by ranges of least squared error")
    for option, field in (("ActivationSymmetric", "activation_scheme"), ("WeightSymmetric", "weight_scheme")):
        if option in options:
            settings[field] = "symmetric" if options.pop(option) else "asymmetric"
    if "CalibPercentile" in options:
        settings["percentile"] = options.pop("CalibPercentile")
    if options:
        _warn_once(f"extra_options without meaning here: {', '.join(sorted(options))}")
    if quant_format is not None and _name(quant_format) != "QDQ":
        _warn_once(f"quant_format {_name(quant_format)}: the file has QuantizeLinear and DequantizeLinear nodes, "
                   "which ONNX Runtime fuses into the same kernels")
    for name, is_given in (("reduce_range", reduce_range), ("use_external_data_format", use_external_data_format),
                           ("calibration_providers", calibration_providers is not None),
                           ("calibration_cache_path", calibration_cache_path is not None)):
        if is_given:
            _warn_once(f"{name} has no meaning here")
    model = load(model_input)
    skip = _skipped(model, op_types_to_quantize, nodes_to_quantize, nodes_to_exclude)
    quantize(model, calibration_data_reader, skip=skip or None, progress=False, **settings).save(model_output)
