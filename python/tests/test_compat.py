"""bitfold.compat.onnxruntime in place of onnxruntime.quantization."""

import inspect
import logging

import numpy as np
import onnxruntime
import pytest
from onnxruntime import quantization as peer

import bitfold
from bitfold.compat import onnxruntime as compat

onnxruntime.set_default_logger_severity(4)


class Reader(peer.CalibrationDataReader):
    def __init__(self, images):
        self.batches = iter([{"input": image[np.newaxis]} for image in images])

    def get_next(self):
        return next(self.batches, None)


def test_the_parameters_are_those_of_onnx_runtime():
    ours, theirs = inspect.signature(compat.quantize_static), inspect.signature(peer.quantize_static)
    assert list(ours.parameters) == list(theirs.parameters)


def test_onnx_runtime_runs_the_file_and_agrees(resnet, cifar, tmp_path):
    images, _ = cifar
    path = str(tmp_path / "model.int8.onnx")
    compat.quantize_static(resnet, path, Reader(images[:64]), quant_format=peer.QuantFormat.QDQ,
                           activation_type=peer.QuantType.QUInt8, weight_type=peer.QuantType.QInt8, per_channel=True,
                           calibrate_method=peer.CalibrationMethod.Entropy)
    result = onnxruntime.InferenceSession(path).run(None, {"input": images})[0]
    expected = onnxruntime.InferenceSession(resnet).run(None, {"input": images})[0]
    assert np.mean(result.argmax(1) == expected.argmax(1)) > 0.95


def test_nodes_and_operators_can_be_selected(lenet, digits, tmp_path):
    path = str(tmp_path / "a.onnx")
    compat.quantize_static(lenet, path, Reader(digits), op_types_to_quantize=["Conv"])
    import onnx
    nodes = onnx.load(path).graph.node
    names = {n.name: n.op_type for n in nodes}
    gemms = [n for n in nodes if n.op_type == "Gemm"]
    producers = {o: n.op_type for n in nodes for o in n.output}
    assert gemms and all(producers.get(g.input[1]) != "DequantizeLinear" for g in gemms), names


def test_options_without_meaning_are_named_once(lenet, digits, tmp_path, caplog):
    compat._warn_once.cache_clear()
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "bitfold"):
            compat.quantize_static(lenet, tmp_path / "a.onnx", Reader(digits), reduce_range=True,
                                   quant_format=peer.QuantFormat.QOperator, extra_options={"ForceSomething": 1})
    texts = [record.getMessage() for record in caplog.records]
    for word in ("reduce_range", "QOperator", "ForceSomething"):
        assert sum(word in text for text in texts) == 1, texts


def test_types_that_bitfold_lacks_are_errors(lenet, digits, tmp_path):
    with pytest.raises(bitfold.Error, match="activation_type is QFLOAT8E4M3FN; Bitfold has QInt8"):
        compat.quantize_static(lenet, tmp_path / "a.onnx", Reader(digits), activation_type=peer.QuantType.QFLOAT8E4M3FN)
    assert not (tmp_path / "a.onnx").exists()
