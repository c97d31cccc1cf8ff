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


def test_names_and_types_are_those_of_the_original_network(tmp_path, caplog):
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 8), dtype=np.float32), "w")
    bias = numpy_helper.from_array(np.ones(8, np.float32), "b")
    nodes = [helper.make_node("MatMul", ["input", "w"], ["m"], name="mm"),
             helper.make_node("Add", ["m", "b"], ["y"], name="add")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])], [weights, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    samples = np.random.default_rng(1).random((16, 8), dtype=np.float32)

    def is_quantized(**options):
        path = str(tmp_path / "a.onnx")
        compat.quantize_static(model, path, Reader(samples), **options)
        return any(node.op_type == "DequantizeLinear" for node in onnx.load(path).graph.node)

    assert is_quantized(op_types_to_quantize=["MatMul"]) and is_quantized(nodes_to_quantize="add")
    assert not is_quantized(op_types_to_quantize="Conv")
    assert not is_quantized(nodes_to_exclude=["add"]) and not is_quantized(nodes_to_exclude="mm")
    with caplog.at_level(logging.WARNING, "bitfold"):
        is_quantized(nodes_to_quantize=["zz"])
    assert "nodes_to_quantize: the network has no 'zz'" in caplog.text


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
