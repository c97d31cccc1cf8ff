#!/usr/bin/env python3
"""Quantizes one model with one of the peers. accuracy.py runs it as a separate process; it is not meant to be called by hand.

    python bench/peers/quantizers.py TOOL float.onnx samples.npy int8.onnx '{"weight_bits": 8, "per_channel": true, ...}'

Writes a QDQ file and prints JSON: the tool's version, and the seconds from the float file to the quantized one, without imports.
"""

import json
import logging
import sys
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter


class Unsupported(Exception):
    """The tool has no such setting."""


def modern(path: str, opset: int) -> onnx.ModelProto:
    """The float model as today's exporters write it: initializers are not inputs, and the opset supports grids per channel."""
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


def aimet(model: str, samples: np.ndarray, output: str, options: dict) -> None:
    from aimet_onnx import QuantizationSimModel, apply_adaround, apply_seq_mse, int4, int8
    from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
    from aimet_onnx.common.quantsim_config.utils import get_path_for_per_channel_config, get_path_for_per_tensor_config
    from aimet_onnx.cross_layer_equalization import equalize_model

    float_model = modern(model, 21 if options["weight_bits"] == 4 else 13)
    inputs = [{float_model.graph.input[0].name: sample[None]} for sample in samples]
    if options.get("equalize"):
        equalize_model(float_model)  # also folds BatchNorm
    else:
        fold_all_batch_norms_to_weight(float_model)
    config = get_path_for_per_channel_config() if options["per_channel"] else get_path_for_per_tensor_config()
    sim = QuantizationSimModel(float_model, param_type=int4 if options["weight_bits"] == 4 else int8, activation_type=int8,
                               quant_scheme=options["scheme"], config_file=config)
    if options.get("rounding") == "seq_mse":
        apply_seq_mse(sim, inputs)
    elif options.get("rounding") == "adaround":
        apply_adaround(sim, inputs, options["iterations"])
    sim.compute_encodings(inputs)
    # 8-bit codes are exported as unsigned.
    onnx.save(sim.to_onnx_qdq(prequantize_constants=True), output)


def inc(model: str, samples: np.ndarray, output: str, options: dict) -> None:
    from onnx_neural_compressor.quantization import CalibrationMethod, QuantFormat, QuantType, config, quantize
    from onnx_neural_compressor.data_reader import CalibrationDataReader

    class Data(Reader, CalibrationDataReader):
        pass

    if options["weight_bits"] != 8:
        raise Unsupported("static quantization of weights to 8 bits only")
    float_model = modern(model, 13)
    reader = Data(float_model.graph.input[0].name, samples)
    settings = config.StaticQuantConfig(reader, CalibrationMethod[options["calibration"]], QuantFormat.QDQ, QuantType.QUInt8,
                                        QuantType.QInt8, per_channel=options["per_channel"],
                                        calibration_sampling_size=len(samples))
    prepared = str(Path(output).with_suffix(".prepared.onnx"))
    onnx.save(float_model, prepared)
    quantize(prepared, output, settings)


# The module and the distribution of each peer.
TOOLS = {
    "onnxruntime": (onnxruntime, "onnxruntime.quantization", "onnxruntime"),
    "nncf": (nncf, "nncf", "nncf"),
    "aimet": (aimet, "aimet_onnx", "aimet-onnx"),
    "inc": (inc, "onnx_neural_compressor.quantization", "onnx-neural-compressor"),
}


def main() -> None:
    tool, model, samples, output, options = sys.argv[1:]
    logging.disable(logging.WARNING)
    quantize, module, package = TOOLS[tool]
    inputs = np.load(samples)
    import_module(module)
    begin, begin_processor = time.perf_counter(), time.process_time()
    try:
        quantize(model, inputs, output, json.loads(options))
    except Unsupported as reason:
        print(json.dumps({"unsupported": str(reason)}))
        return
    print(json.dumps({"seconds": time.perf_counter() - begin, "processor_seconds": time.process_time() - begin_processor,
                      "version": version(package)}))


if __name__ == "__main__":
    main()
