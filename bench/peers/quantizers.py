#!/usr/bin/env python3
"""Quantizes one model with one of the peers, in a process of its own. What accuracy.py starts; not called by hand.

    python bench/peers/quantizers.py TOOL float.onnx samples.npy int8.onnx '{"weight_bits": 8, "per_channel": true, ...}'

Writes a QDQ file and prints JSON: the tool's version, and the seconds from the float file to the quantized one, imports left out.
"""

import json
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter


class Unsupported(Exception):
    """The tool has no such setting."""


def modern(path: str, opset: int) -> onnx.ModelProto:
    """The float model as today's exporters write it: initializers are no inputs, and the opset has grids per channel."""
    model = onnx.load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)
    return onnx.version_converter.convert_version(model, opset) if model.opset_import[0].version < opset else model


class Reader:
    """Samples one by one, as ONNX Runtime's CalibrationDataReader gives them."""

    def __init__(self, name: str, samples: np.ndarray):
        self.name, self.samples, self.position = name, samples, 0

    def get_next(self) -> dict | None:
        if self.position == len(self.samples):
            return None
        self.position += 1
        return {self.name: self.samples[self.position - 1 : self.position]}

    def rewind(self) -> None:
        self.position = 0


def onnxruntime(model: str, samples: np.ndarray, output: str, options: dict) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = str(Path(output).with_suffix(".prepared.onnx"))
    float_model = modern(model, 21 if options["weight_bits"] == 4 else 13)
    name = float_model.graph.input[0].name
    quant_pre_process(float_model, prepared)
    quantize_static(prepared, output, Reader(name, samples), quant_format=QuantFormat.QDQ, per_channel=options["per_channel"],
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt4 if options["weight_bits"] == 4 else QuantType.QInt8,
                    calibrate_method=CalibrationMethod[options["calibration"]])


def nncf(model: str, samples: np.ndarray, output: str, options: dict) -> None:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    if options["weight_bits"] != 8:
        raise Unsupported("NNCF's ONNX backend quantizes activations and weights to 8 bits only")
    float_model = modern(model, 13)
    name = float_model.graph.input[0].name
    weights = QuantizationParameters(per_channel=options["per_channel"])
    quantized = nncf.quantize(float_model, nncf.Dataset([{name: sample[None]} for sample in samples]), subset_size=len(samples),
                              preset=nncf.QuantizationPreset(options["preset"]),
                              fast_bias_correction=options["fast_bias_correction"],
                              advanced_parameters=AdvancedQuantizationParameters(weights_quantization_params=weights))
    onnx.save(quantized, output)


TOOLS = {"onnxruntime": (onnxruntime, "onnxruntime"), "nncf": (nncf, "nncf")}


def main() -> None:
    tool, model, samples, output, options = sys.argv[1:]
    logging.disable(logging.WARNING)
    quantize, package = TOOLS[tool]
    inputs = np.load(samples)
    __import__(package)
    begin = time.perf_counter()
    try:
        quantize(model, inputs, output, json.loads(options))
    except Unsupported as reason:
        print(json.dumps({"unsupported": str(reason)}))
        return
    print(json.dumps({"seconds": time.perf_counter() - begin, "version": version(package)}))


if __name__ == "__main__":
    main()
