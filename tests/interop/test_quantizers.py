"""Small networks that ONNX Runtime quantizes: `bitfold run` gives the numbers of ONNX Runtime.

Run by pytest. BITFOLD_TOOL is the `bitfold` program.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", ROOT / "build" / "bitfold"))


class Builder:
    """A network of one input 'x', which ends at the value of the last node."""

    def __init__(self, shape, dtype=np.float32):
        self.random = np.random.default_rng(0)
        self.shape, self.dtype = shape, dtype
        self.nodes, self.constants = [], []

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape):
        depth = np.prod(shape[1:]) if len(shape) > 2 else shape[0]
        return self.constant((self.random.standard_normal(shape) / np.sqrt(depth)).astype(np.float32))

    def add(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}{len(self.nodes)}", **attributes))
        return names[-1]

    def conv(self, x, inputs, outputs, **attributes):
        return self.add("Conv", x, self.weights(outputs, inputs, 3, 3), self.weights(outputs), pads=[1] * 4, **attributes)

    def save(self, path):
        inputs = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)), self.shape)]
        outputs = [helper.make_tensor_value_info(self.nodes[-1].output[-1], onnx.TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)

    def samples(self, count):
        if self.dtype == np.float32:
            return [{"x": self.random.standard_normal(self.shape).astype(np.float32)} for _ in range(count)]
        return [{"x": self.random.integers(0, 20, self.shape)} for _ in range(count)]


def residual_network():
    b = Builder([1, 3, 16, 16])
    first = b.add("Relu", b.conv("x", 3, 8))
    second = b.conv(b.add("Relu", b.conv(first, 8, 8)), 8, 8)
    pooled = b.add("MaxPool", b.add("Relu", b.add("Add", first, second)), kernel_shape=[2, 2], strides=[2, 2])
    mean = b.add("AveragePool", b.add("Relu", b.conv(pooled, 8, 16)), kernel_shape=[8, 8])
    b.add("Gemm", b.add("Reshape", mean, b.constant(np.int64([0, -1]))), b.weights(16, 10), b.weights(10))
    return b


def detector():
    b = Builder([1, 3, 16, 16])
    fine = b.add("LeakyRelu", b.conv("x", 3, 8), alpha=0.1)
    coarse = b.add("Relu", b.conv(fine, 8, 8, strides=[2, 2]))
    scales = b.constant(np.float32([1, 1, 2, 2]))
    raised = b.add("Resize", coarse, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                   nearest_mode="floor")
    b.conv(b.add("Concat", fine, raised, axis=1), 16, 6)
    return b


def text_network():
    b = Builder([2, 6], np.int64)
    x = b.add("Gather", b.weights(20, 16), "x")
    heads = [b.add("MatMul", x, b.weights(16, 16)) for _ in range(3)]
    scores = b.add("MatMul", heads[0], b.add("Transpose", heads[1], perm=[0, 2, 1]))
    mixed = b.add("MatMul", b.add("Softmax", scores, axis=-1), heads[2])
    b.add("MatMul", b.add("Relu", b.add("MatMul", mixed, b.weights(16, 32))), b.weights(32, 8))
    return b


def recurrent_network():
    b = Builder([5, 2, 8])
    names = [b.weights(2, 64, 8), b.weights(2, 64, 16), b.weights(2, 128)]
    y = b.add("LSTM", "x", *names, hidden_size=16, direction="bidirectional")
    joined = b.add("Reshape", b.add("Transpose", y, perm=[0, 2, 1, 3]), b.constant(np.int64([5, 2, 32])))
    b.add("MatMul", joined, b.weights(32, 7))
    return b


NETWORKS = {"residual": residual_network, "detector": detector, "text": text_network, "recurrent": recurrent_network}


class Reader(CalibrationDataReader):
    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        return next(self.samples, None)


STATIC = {
    "QDQ": {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8, "per_channel": True},
    "QDQ signed": {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QInt8},
    "QOperator": {"quant_format": QuantFormat.QOperator, "activation_type": QuantType.QUInt8, "per_channel": True},
    "QOperator per tensor": {"quant_format": QuantFormat.QOperator, "activation_type": QuantType.QUInt8},
}
DYNAMIC = {
    "signed": {"weight_type": QuantType.QInt8},
    "unsigned": {"weight_type": QuantType.QUInt8},
    "per channel": {"weight_type": QuantType.QInt8, "per_channel": True},
}


def session(path, is_fused=True):
    options = onnxruntime.SessionOptions()
    if not is_fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Without VNNI, ONNX Runtime adds pairs of products in 16 bits, which saturate; this requests exact sums.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_both(path, sample, folder, *flags, is_fused=True):
    np.savez(folder / "in.npz", **sample)
    done = subprocess.run([TOOL, "run", path, "--input", folder / "in.npz", "--output", folder / "out.npz", *flags],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arrays = np.load(folder / "out.npz")
    return arrays[arrays.files[0]], session(path, is_fused).run(None, sample)[0]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    builders = {name: make() for name, make in NETWORKS.items()}
    for name, builder in builders.items():
        builder.save(folder / f"{name}.onnx")
    return folder, builders


@pytest.mark.parametrize("form", STATIC)
@pytest.mark.parametrize("name", ["residual", "detector", "text"])
def test_statically_quantized_networks(name, form, networks, tmp_path):
    folder, builders = networks
    path = tmp_path / "quantized.onnx"
    quantize_static(folder / f"{name}.onnx", path, Reader(builders[name].samples(8)), **STATIC[form])
    for sample in builders[name].samples(3):
        # ONNX Runtime replaces a Softmax between grids by QLinearSoftmax, which rounds its exponentials.
        ours, theirs = run_both(path, sample, tmp_path, is_fused=name != "text")
        if name == "text":
            # Softmax is computed in floats: a value close to a tie may get the next code.
            step = np.abs(theirs)[theirs != 0].min()  # at least a step of the output's grid
            assert np.abs(ours - theirs).max() <= 1.01 * step and np.mean(ours != theirs) <= 0.05
        else:
            # Sums in integers are exact, so that no code differs.
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", DYNAMIC)
@pytest.mark.parametrize("name", NETWORKS)
def test_dynamically_quantized_networks(name, form, networks, tmp_path):
    folder, builders = networks
    path = tmp_path / "quantized.onnx"
    quantize_dynamic(folder / f"{name}.onnx", path, op_types_to_quantize=["MatMul", "Gemm", "Gather", "LSTM"], **DYNAMIC[form])
    for sample in builders[name].samples(3):
        for flags in ([], ["--simulate"]):
            ours, theirs = run_both(path, sample, tmp_path, *flags)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_every_layer_of_a_statically_quantized_network_runs_in_integers(form, networks, tmp_path):
    folder, builders = networks
    path = tmp_path / "quantized.onnx"
    quantize_static(folder / "residual.onnx", path, Reader(builders["residual"].samples(8)), **STATIC[form])
    done = subprocess.run([TOOL, "bench", path, "--profile", "--min-time", "0", "--json", "-"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert {"Conv", "Gemm", "AveragePool"} <= {step["op"] for step in steps}
    assert [step["name"] for step in steps if not step["is_integer"]] == []
