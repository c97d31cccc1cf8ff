"""Files that `bitfold fold` writes in several opsets, and of float16, bfloat16 and float64 networks: valid for
onnx.checker, and the same outputs in ONNX Runtime as the file they were made from.

Run by pytest. BITFOLD_TOOL is the `bitfold` program.
"""

import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", ROOT / "build" / "bitfold"))
RANDOM = np.random.default_rng(0)


def node(*arguments, **attributes):
    return helper.make_node(*arguments, **attributes)


def info(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def save(path, nodes, inputs, outputs, constants=None, opset=17, value_info=()):
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers, value_info=value_info)
    ir = helper.VERSION_TABLE and next(row[1] for row in helper.VERSION_TABLE if row[2] >= opset)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=max(ir, 4)), path)


def fold(model, output, *arguments):
    return subprocess.run([TOOL, "fold", model, "-o", output, *arguments], capture_output=True, text=True)


def run(path, feed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feed)


def random(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


# Name: nodes from x to y, the shape of x, constants, opset, and the lowest opset that can say them.
NETWORKS = {
    "reduce": ([node("ReduceMean", ["x", "axes"], ["m"], keepdims=0), node("ReduceSum", ["m", "axis"], ["y"])],
               [2, 3, 4], {"axes": np.int64([-1]), "axis": np.int64([0])}, 18, 7),
    "squeeze": ([node("Unsqueeze", ["x", "at"], ["u"]), node("Exp", ["u"], ["e"]), node("Squeeze", ["e", "at"], ["y"])],
                [2, 3], {"at": np.int64([1])}, 18, 7),
    "slice": ([node("Slice", ["x", "from", "to", "axes"], ["y"])], [4, 5],
              {"from": np.int64([1]), "to": np.int64([3]), "axes": np.int64([1])}, 18, 7),
    "clip": ([node("Clip", ["x", "low", "high"], ["y"])], [4, 5], {"low": np.float32(-0.5), "high": np.float32(1)}, 18, 7),
    "pad": ([node("Pad", ["x", "pads", "value", "axes"], ["y"])], [1, 2, 3, 4],
            {"pads": np.int64([2, 1, 0, 3]), "value": np.float32(5), "axes": np.int64([3, 2])}, 18, 7),
    "split": ([node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), node("Concat", ["b", "a"], ["y"], axis=1)],
              [2, 5], {}, 18, 7),
    "softmax": ([node("Softmax", ["x"], ["y"])], [2, 5], {}, 18, 7),
    "flattened softmax": ([node("Softmax", ["x"], ["y"], axis=1)], [2, 3, 4], {}, 11, 7),
    "resize": ([node("Resize", ["x", "", "scales"], ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
               [1, 2, 3, 3], {"scales": np.float32([1, 1, 2, 2])}, 18, 7),
    "resize to sizes": ([node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")], [1, 2, 3, 3],
                        {"sizes": np.int64([1, 2, 5, 4])}, 18, 11),
    "layers": ([node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
                node("BatchNormalization", ["c", "p", "q", "q", "p"], ["n"]), node("Relu", ["n"], ["r"]),
                node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
                node("GlobalAveragePool", ["m"], ["a"]), node("Flatten", ["a"], ["y"])],
               [1, 2, 6, 6], {"w": random(4, 2, 3, 3), "p": np.float32([1, 2, 3, 4]), "q": np.float32([0, 1, 0, -1])}, 17, 7),
    "gelu": ([node("Gelu", ["x"], ["y"])], [2, 5], {}, 20, 9),
    "hard swish": ([node("HardSwish", ["x"], ["y"])], [2, 5], {}, 17, 7),
    "mish": ([node("Mish", ["x"], ["y"])], [2, 5], {}, 18, 7),
    "layer normalization": ([node("LayerNormalization", ["x", "s", "b"], ["y"])], [2, 5],
                            {"s": random(5), "b": random(5)}, 17, 7),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_means_the_same_in_every_opset_that_can_express_it(name, tmp_path):
    nodes, shape, constants, opset, lowest = NETWORKS[name]
    model = tmp_path / "model.onnx"
    save(model, nodes, [info("x", shape)], [info("y", None)], constants, opset)
    feed = {"x": random(*shape)}
    right = run(model, feed)[0]
    for target in [None, 7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 21, 23]:
        folded = tmp_path / f"{target}.onnx"
        done = fold(model, folded, *([] if target is None else ["--opset", str(target)]))
        if target is not None and target < lowest:
            assert done.returncode == 1 and f"opset {target}" in done.stderr, done.stderr
            assert not folded.exists()
            continue
        assert done.returncode == 0, done.stderr
        onnx.checker.check_model(folded, full_check=True)
        written = onnx.load(folded)
        assert written.opset_import[0].version == (target or opset)
        np.testing.assert_allclose(run(folded, feed)[0], right, rtol=1e-5, atol=1e-5)
        again = tmp_path / f"{target} again.onnx"
        assert fold(folded, again).returncode == 0
        onnx.checker.check_model(again, full_check=True)


def narrow(dtype, array):
    if dtype != TensorProto.BFLOAT16:
        return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(dtype)))
    return helper.make_tensor("", dtype, array.shape, array.flatten().tolist())


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_networks_of_other_reals_keep_them_at_the_interface(dtype, opset, tmp_path):
    model, folded = tmp_path / "model.onnx", tmp_path / "folded.onnx"
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["s"]), node("Relu", ["s"], ["y"]),
         node("Cast", ["s"], ["z"], to=TensorProto.FLOAT)],
        "g", [info("x", ["n", 8], dtype)], [info("y", ["n", 4], dtype), info("z", ["n", 4])])
    for name, value in (("w", random(8, 4)), ("b", random(4))):
        tensor = narrow(dtype, value)
        tensor.name = name
        graph.initializer.append(tensor)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, model)
    done = fold(model, folded)
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(folded, full_check=True)
    written = onnx.load(folded)
    types = {value.name: value.type.tensor_type.elem_type for value in [*written.graph.input, *written.graph.output]}
    assert types == {"x": dtype, "y": dtype, "z": TensorProto.FLOAT}
    if dtype == TensorProto.BFLOAT16:  # ONNX Runtime's CPU provider lacks MatMul for it
        return
    x = random(3, 8).astype(helper.tensor_dtype_to_np_dtype(dtype))
    for got, right in zip(run(folded, {"x": x}), run(model, {"x": x})):
        assert got.dtype == right.dtype
        np.testing.assert_allclose(got.astype(np.float64), right.astype(np.float64), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_networks_of_halves_keep_their_size(dtype, tmp_path):
    model, folded, again = tmp_path / "model.onnx", tmp_path / "folded.onnx", tmp_path / "again.onnx"
    graph = helper.make_graph(
        [node("MatMul", ["x", "w"], ["m"]), node("Relu", ["m"], ["r"]), node("MatMul", ["r", "v"], ["y"])],
        "g", [info("x", ["n", 64], dtype)], [info("y", ["n", 64], dtype)])
    for name in ("w", "v"):
        tensor = narrow(dtype, random(64, 64) / 8)
        tensor.name = name
        graph.initializer.append(tensor)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    for source, target in ((model, folded), (folded, again)):
        done = fold(source, target)
        assert done.returncode == 0, done.stderr
        onnx.checker.check_model(target, full_check=True)
        assert os.path.getsize(target) < os.path.getsize(model) + 1000
    assert len(onnx.load(folded).graph.node) == len(onnx.load(again).graph.node)
    if dtype == TensorProto.BFLOAT16:  # ONNX Runtime's CPU provider lacks MatMul for it
        return
    x = random(3, 64).astype(np.float16)
    right = run(model, {"x": x})[0].astype(np.float64)
    np.testing.assert_allclose(run(folded, {"x": x})[0].astype(np.float64), right, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("ir", [3, 8])
def test_arrays_replace_default_values_of_inputs(ir, tmp_path):
    model = tmp_path / "model.onnx"
    graph = helper.make_graph(
        [node("Mul", ["x", "w"], ["y"])], "g", [info("x", [2]), info("w", [2])], [info("y", [2])],
        [numpy_helper.from_array(np.float32([3, 4]), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=ir), model)
    for feed in ({"x": random(2)}, {"x": random(2), "w": random(2)}):
        np.savez(tmp_path / "in.npz", **feed)
        done = subprocess.run([TOOL, "run", model, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz"],
                              capture_output=True, text=True)
        assert done.returncode == 0 and "not used" not in done.stdout, done.stdout + done.stderr
        w = feed.get("w", np.float32([3, 4]))
        np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], feed["x"] * w)


def test_subgraphs_and_functions_mean_the_same_in_other_opsets(tmp_path):
    model = tmp_path / "model.onnx"
    inner = [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("before", [2])]
    body = helper.make_graph(
        [node("Add", ["before", "step"], ["after"]), node("Identity", ["go"], ["on"]), node("Exp", ["after"], ["seen"])],
        "body", inner, [info("on", [], TensorProto.BOOL), info("after", [2]), info("seen", [2])])
    branch = lambda name, op: helper.make_graph([node(op, ["last"], [name])], name, [], [info(name, [2])])
    function = helper.make_function("local", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])],
                                    [helper.make_opsetid("", 17)])
    graph = helper.make_graph(
        [node("Loop", ["n", "", "x"], ["last", "all"], body=body),
         node("If", ["c"], ["chosen"], then_branch=branch("t", "Neg"), else_branch=branch("e", "Abs")),
         node("Twice", ["chosen"], ["y"], domain="local")],
        "g", [info("n", [], TensorProto.INT64), info("c", [], TensorProto.BOOL), info("x", [2]), info("step", [2])],
        [info("y", [2]), info("all", [None, 2])])
    made = helper.make_model(graph, functions=[function], ir_version=8,
                             opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)])
    onnx.save(made, model)
    feed = {"n": np.array(3, np.int64), "c": np.array(True), "x": random(2), "step": random(2)}
    right = run(model, feed)
    for target in [None, 13, 21]:
        folded = tmp_path / f"{target}.onnx"
        done = fold(model, folded, *([] if target is None else ["--opset", str(target)]))
        assert done.returncode == 0, done.stderr
        onnx.checker.check_model(folded, full_check=True)
        for got, expected in zip(run(folded, feed), right):
            np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_operators_that_bitfold_lacks_keep_their_opset(tmp_path):
    model, folded = tmp_path / "model.onnx", tmp_path / "folded.onnx"
    # Scan of opset 8 has a batch axis, unlike that of opset 9.
    body = helper.make_graph([node("Add", ["sum", "item"], ["total"]), node("Identity", ["total"], ["copy"])], "body",
                             [info("sum", [4]), info("item", [4])], [info("total", [4]), info("copy", [4])])
    save(model, [node("Scan", ["", "start", "x"], ["last", "y"], body=body, num_scan_inputs=1)],
         [info("start", [2, 4]), info("x", [2, 3, 4])], [info("y", None)], {}, 8)
    feed = {"start": random(2, 4), "x": random(2, 3, 4)}
    assert fold(model, folded).returncode == 0
    assert onnx.load(folded).opset_import[0].version == 8
    np.testing.assert_array_equal(run(folded, feed)[0], run(model, feed)[0])
    done = fold(model, tmp_path / "newer.onnx", "--opset", "18")
    assert done.returncode == 1 and "[Scan" in done.stderr, done.stderr


def test_plain_int8_is_written_for_old_runtimes(tmp_path):
    model, quantized = tmp_path / "model.onnx", tmp_path / "quantized.onnx"
    nodes, shape, constants, opset, _ = NETWORKS["layers"]
    save(model, nodes, [info("x", ["n", *shape[1:]])], [info("y", None)], constants, opset)
    np.save(tmp_path / "samples.npy", random(16, *shape[1:]))
    for arguments, expected, ir in (["--opset", "13"], 13, 7), ([], 17, 8):
        done = subprocess.run([TOOL, "quantize", model, "--calibrate", tmp_path / "samples.npy", "-o", quantized, *arguments],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        onnx.checker.check_model(quantized, full_check=True)
        written = onnx.load(quantized)
        assert (written.opset_import[0].version, written.ir_version) == (expected, ir)
        run(quantized, {"x": random(1, *shape[1:])})
