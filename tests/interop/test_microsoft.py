"""Operators of com.microsoft, and operators on codes: `bitfold run` gives the numbers of ONNX Runtime.

Run by pytest. BITFOLD_TOOL is the `bitfold` program.
"""

import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", ROOT / "build" / "bitfold"))
RANDOM = np.random.default_rng(0)
MICROSOFT = "com.microsoft"


def reals(*shape, scale=1.0):
    return (scale * RANDOM.standard_normal(shape)).astype(np.float32)


def codes(dtype, *shape, low=None, high=None):
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min if low is None else low, limits.max if high is None else high, shape, dtype, endpoint=True)


def micro(kind, inputs, outputs=("y",), **attributes):
    return helper.make_node(kind, list(inputs), list(outputs), domain=MICROSOFT, **attributes)


def node(kind, inputs, outputs=("y",), **attributes):
    return helper.make_node(kind, list(inputs), list(outputs), **attributes)


def compare(tmp_path, nodes, feed, constants=None, outputs=("y",), rtol=1e-4, atol=1e-5, opset=17, steps=None):
    """Runs the nodes in both programs. `steps`: the share of codes that may differ, by one step."""
    path = tmp_path / "model.onnx"
    feed = {name: np.asarray(value) for name, value in feed.items()}
    inputs = [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feed.items()]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_empty_tensor_value_info(o) for o in outputs],
                              [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()])
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1  # DynamicQuantizeLSTM quantizes the samples of each thread separately
    expected = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feed)
    np.savez(tmp_path / "in.npz", **feed)
    done = subprocess.run([TOOL, "run", path, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "out.npz")
    for name, right in zip(outputs, expected):
        assert found[name].shape == right.shape and found[name].dtype == right.dtype
        if right.dtype.kind in "iu":
            distance = np.abs(found[name].astype(np.int64) - right.astype(np.int64))
            assert distance.max(initial=0) <= (0 if steps is None else 1)
            assert steps is None or np.mean(distance > 0) <= steps
        else:
            np.testing.assert_allclose(found[name], right, rtol=rtol, atol=atol)


# Fused operators: nodes, inputs, constants.
X = {"x": reals(2, 3, 8)}
ROWS = {"g": reals(8), "b": reals(8), "c": reals(8)}
FUSED = {
    "Gelu": ([micro("Gelu", ["x"])], X, {}),
    "BiasGelu": ([micro("BiasGelu", ["x", "b"])], X, ROWS),
    "FastGelu": ([micro("FastGelu", ["x", "b"])], X, ROWS),
    "QuickGelu": ([micro("QuickGelu", ["x"], alpha=1.5)], X, {}),
    "SkipLayerNormalization": ([micro("SkipLayerNormalization", ["x", "s", "g", "b", "c"], ["y", "", "", "z"])],
                               {**X, "s": reals(2, 3, 8)}, ROWS),
    "SkipLayerNormalization without beta": ([micro("SkipLayerNormalization", ["x", "s", "g"], epsilon=0.1)],
                                            {**X, "s": reals(2, 3, 8)}, ROWS),
    "EmbedLayerNormalization": (
        [micro("EmbedLayerNormalization", ["i", "t", "w", "p", "e", "g", "b", "m"], ["y", "z"])],
        {"i": codes(np.int32, 2, 3, low=0, high=9), "t": codes(np.int32, 2, 3, low=0, high=1),
         "m": np.int32([[1, 1, 1], [1, 1, 0]])},
        {"w": reals(10, 8), "p": reals(5, 8), "e": reals(2, 8), **ROWS}),
    "FusedMatMul": ([micro("FusedMatMul", ["x", "w"], transA=1, alpha=0.5)], {"x": reals(2, 4, 3)}, {"w": reals(4, 5)}),
    "FusedMatMul transB": ([micro("FusedMatMul", ["x", "w"], transB=1)], {"x": reals(2, 3, 4), "w": reals(2, 5, 4)}, {}),
    "FusedMatMul batch": ([micro("FusedMatMul", ["x", "w"], transBatchA=1)], {"x": reals(3, 2, 4), "w": reals(2, 4, 5)}, {}),
    "FusedConv": ([micro("FusedConv", ["x", "w", "b", "z"], activation="Relu", pads=[1, 1, 1, 1])],
                  {"x": reals(1, 2, 4, 4), "z": reals(1, 3, 4, 4)}, {"w": reals(3, 2, 3, 3), "b": reals(3)}),
    "FusedConv LeakyRelu": ([micro("FusedConv", ["x", "w"], activation="LeakyRelu", activation_params=[0.2])],
                            {"x": reals(1, 2, 4, 4)}, {"w": reals(3, 2, 3, 3)}),
    "FusedGemm": ([micro("FusedGemm", ["x", "w", "b"], activation="LeakyRelu", activation_alpha=0.3, transB=1)],
                  {"x": reals(3, 4)}, {"w": reals(5, 4), "b": reals(5)}),
    "LayerNormalization before opset 17": ([node("LayerNormalization", ["x", "g", "b"])], X, ROWS),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_operators_equal_onnxruntime(name, tmp_path):
    nodes, feed, constants = FUSED[name]
    outputs = [o for o in nodes[-1].output if o]
    compare(tmp_path, nodes, feed, constants, outputs, opset=16 if "before" in name else 17)


# Attention: the node, inputs, constants. Two heads of 4 elements, 3 new tokens, 2 past ones.
QKV = {"q": reals(2, 3, 8), "k": reals(2, 5, 8), "v": reals(2, 5, 8)}
PROJECTION = {"w": reals(8, 24, scale=0.5), "b": reals(24)}
CACHES = {"cos": np.cos(np.outer(np.arange(8), [1, 0.1])).astype(np.float32),
          "sin": np.sin(np.outer(np.arange(8), [1, 0.1])).astype(np.float32)}
WIDE = {"cos": np.cos(np.outer(np.arange(8), np.arange(1, 9) / 8)).astype(np.float32),
        "sin": np.sin(np.outer(np.arange(8), np.arange(1, 9) / 8)).astype(np.float32)}
ATTENTION = {
    "Attention": (micro("Attention", ["x", "w", "b"], num_heads=2), X, PROJECTION),
    "Attention causal": (micro("Attention", ["x", "w", "b"], num_heads=2, unidirectional=1, scale=0.3), X, PROJECTION),
    "Attention mask": (micro("Attention", ["x", "w", "b", "m"], num_heads=2), {**X, "m": np.int32([[1, 1, 0], [1, 1, 1]])},
                       PROJECTION),
    "Attention lengths": (micro("Attention", ["x", "w", "b", "m"], num_heads=2), {**X, "m": np.int32([2, 3])}, PROJECTION),
    "Attention 3-D mask": (micro("Attention", ["x", "w", "b", "m"], num_heads=2),
                           {**X, "m": np.tril(np.ones((2, 3, 3), np.int32))}, PROJECTION),
    "Attention past": (micro("Attention", ["x", "w", "b", "", "p"], ["y", "z"], num_heads=2, unidirectional=1),
                       {**X, "p": reals(2, 2, 2, 2, 4)}, PROJECTION),
    "Attention sizes": (micro("Attention", ["x", "w", "b"], num_heads=2, qkv_hidden_sizes=[4, 4, 16]), X, PROJECTION),
    "MultiHeadAttention": (micro("MultiHeadAttention", ["q", "k", "v"], num_heads=2), QKV, {}),
    "MultiHeadAttention bias": (micro("MultiHeadAttention", ["q", "k", "v", "b", "m", "a"], num_heads=2),
                                {**QKV, "m": np.int32([[1, 1, 1, 0, 0], [1] * 5]), "a": reals(1, 2, 3, 5)}, PROJECTION),
    "MultiHeadAttention past": (
        micro("MultiHeadAttention", ["q", "k", "v", "", "", "", "pk", "pv"], ["y", "z", "u"], num_heads=2),
        {**QKV, "k": reals(2, 3, 8), "v": reals(2, 3, 8), "pk": reals(2, 2, 2, 4), "pv": reals(2, 2, 2, 4)}, {}),
    "MultiHeadAttention crossed": (micro("MultiHeadAttention", ["q", "k", "v"], num_heads=2),
                                   {"q": reals(2, 3, 8), "k": reals(2, 2, 5, 4), "v": reals(2, 2, 5, 4)}, {}),
    "RotaryEmbedding": (micro("RotaryEmbedding", ["x", "p", "cos", "sin"]),
                        {**X, "p": np.int64([[0, 1, 2], [3, 4, 5]])}, CACHES),
    "RotaryEmbedding interleaved": (micro("RotaryEmbedding", ["x", "p", "cos", "sin"], interleaved=1),
                                    {**X, "p": np.int64([2])}, CACHES),
    "RotaryEmbedding part": (micro("RotaryEmbedding", ["x", "p", "cos", "sin"], num_heads=1, rotary_embedding_dim=4),
                             {**X, "p": np.int64([0])}, CACHES),
    "RotaryEmbedding 4-D": (micro("RotaryEmbedding", ["x", "p", "cos", "sin"]),
                            {"x": reals(2, 2, 3, 4), "p": np.int64([1])}, CACHES),
    "GroupQueryAttention": (
        micro("GroupQueryAttention", ["q", "k", "v", "", "", "l", "t", "cos", "sin"], ["y", "z", "u"], num_heads=4,
              kv_num_heads=2, do_rotary=1),
        {"q": reals(2, 3, 64), "k": reals(2, 3, 32), "v": reals(2, 3, 32), "l": np.int32([2, 2]), "t": np.int32(3)}, WIDE),
    "GroupQueryAttention past": (
        micro("GroupQueryAttention", ["q", "k", "v", "pk", "pv", "l", "t", "cos", "sin"], ["y", "z", "u"], num_heads=4,
              kv_num_heads=2, do_rotary=1, rotary_interleaved=1, softcap=2.0),
        {"q": reals(1, 1, 64), "k": reals(1, 1, 32), "v": reals(1, 1, 32), "pk": reals(1, 2, 4, 16), "pv": reals(1, 2, 4, 16),
         "l": np.int32([4]), "t": np.int32(5)}, WIDE),
    "GroupQueryAttention window": (
        micro("GroupQueryAttention", ["q", "", "", "", "", "l", "t"], ["y", "z", "u"], num_heads=2, kv_num_heads=1,
              local_window_size=2),
        {"q": reals(1, 4, 32), "l": np.int32([3]), "t": np.int32(4)}, {}),
    "QAttention": (
        micro("QAttention", ["x", "w", "b", "xs", "ws", "", "xz", "wz"], num_heads=2),
        {"x": codes(np.uint8, 2, 3, 8)},
        {"w": codes(np.int8, 8, 24), "b": PROJECTION["b"], "xs": np.float32(0.02), "ws": np.float32(0.01),
         "xz": np.uint8(128), "wz": np.int8(3)}),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_equals_onnxruntime(name, tmp_path):
    one, feed, constants = ATTENTION[name]
    constants = {key: value for key, value in constants.items() if key in one.input}
    compare(tmp_path, [one], feed, constants, list(one.output))


# Weights of n bits.
@pytest.mark.parametrize("bits, block, has_zeros", [(4, 16, False), (4, 32, True), (8, 32, True), (2, 32, False)])
def test_weights_of_n_bits_equal_onnxruntime(bits, block, has_zeros, tmp_path):
    columns, depth = 6, 48
    blocks = -(-depth // block)
    constants = {"w": codes(np.uint8, columns, blocks, block * bits // 8),
                 "s": np.abs(reals(columns, blocks)) + np.float32(0.1),
                 "z": codes(np.uint8, columns * -(-blocks * bits // 8))}
    inputs = ["a", "w", "s"] + (["z"] if has_zeros else [])
    one = micro("MatMulNBits", inputs, N=columns, K=depth, bits=bits, block_size=block)
    compare(tmp_path, [one], {"a": reals(2, 3, depth)}, {k: v for k, v in constants.items() if k in inputs}, rtol=1e-3,
            atol=1e-3)


# Operators on codes with constant scales: x and y are reals, quantized before and after.
GRID = {"xs": np.float32(0.05), "xz": np.uint8(120), "ys": np.float32(0.13), "yz": np.uint8(100)}
CODES = {
    "QLinearConv": ([node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], pads=[1, 1, 1, 1])],
                    {"w": codes(np.int8, 4, 3, 3, 3), "ws": np.float32([0.01, 0.02, 0.01, 0.005]),
                     "wz": np.zeros(4, np.int8), "b": codes(np.int32, 4, low=-500, high=500)}, (1, 3, 5, 5)),
    "QLinearMatMul": ([node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"])],
                      {"w": codes(np.int8, 5, 4), "ws": np.float32(0.01), "wz": np.int8(0)}, (2, 3, 5)),
    "QGemm": ([micro("QGemm", ["x", "xs", "xz", "w", "ws", "wz", "b", "ys", "yz"], transB=1)],
              {"w": codes(np.int8, 4, 5), "ws": np.float32([0.01, 0.02, 0.01, 0.02]), "wz": np.zeros(4, np.int8),
               "b": codes(np.int32, 4, low=-500, high=500)}, (3, 5)),
    "QLinearAdd": ([micro("QLinearAdd", ["x", "xs", "xz", "x", "xs", "xz", "ys", "yz"])], {}, (2, 3, 4)),
    "QLinearMul": ([micro("QLinearMul", ["x", "xs", "xz", "x", "xs", "xz", "ys", "yz"])], {}, (2, 3, 4)),
    "QLinearLeakyRelu": ([micro("QLinearLeakyRelu", ["x", "xs", "xz", "ys", "yz"], alpha=0.1)], {}, (2, 3, 4)),
    "QLinearSigmoid": ([micro("QLinearSigmoid", ["x", "xs", "xz", "ss", "sz"])],
                       {"ss": np.float32(1 / 256), "sz": np.uint8(0)}, (2, 3, 4)),
    "QLinearAveragePool": ([micro("QLinearAveragePool", ["x", "xs", "xz", "ys", "yz"], kernel_shape=[2, 2])], {}, (1, 3, 4, 4)),
    "QLinearGlobalAveragePool": ([micro("QLinearGlobalAveragePool", ["x", "xs", "xz", "ys", "yz"])], {}, (1, 3, 4, 4)),
    "QLinearGlobalAveragePool channels last": (
        [micro("QLinearGlobalAveragePool", ["x", "xs", "xz", "ys", "yz"], channels_last=1)], {}, (1, 4, 4, 3)),
    "QLinearConcat": ([micro("QLinearConcat", ["ys", "yz", "x", "xs", "xz", "x", "xs", "xz"], axis=1)], {}, (2, 3, 4)),
    "QLinearSoftmax": ([micro("QLinearSoftmax", ["x", "xs", "xz", "ss", "sz"], axis=-1, opset=13)],
                       {"ss": np.float32(1 / 256), "sz": np.uint8(0)}, (2, 3, 4)),
}


@pytest.mark.parametrize("is_computed", [False, True])
@pytest.mark.parametrize("name", CODES)
def test_operators_on_codes_equal_onnxruntime(name, is_computed, tmp_path):
    """Once between a QuantizeLinear and a DequantizeLinear, and once on codes that come from outside."""
    nodes, constants, shape = CODES[name]
    used = {key: value for key, value in {**GRID, **constants}.items() if any(key in n.input for n in nodes)}
    if not is_computed:
        # One step is a tie that float32 and integers break differently; ONNX Runtime's tables round twice.
        compare(tmp_path, nodes, {"x": codes(np.uint8, *shape)}, used, steps=0.02)
        return
    scale, zero = ("ss", "sz") if "ss" in used else ("ys", "yz")
    around = [node("QuantizeLinear", ["r", "xs", "xz"], ["x"]), *nodes, node("DequantizeLinear", ["y", scale, zero], ["z"])]
    step = float({**GRID, **constants}[scale])
    compare(tmp_path, around, {"r": reals(*shape, scale=2)}, used, ["z"], rtol=0, atol=1.01 * step)


def test_products_of_dynamically_quantized_inputs_equal_onnxruntime(tmp_path):
    constants = {"w": codes(np.int8, 8, 4), "ws": np.float32([0.01, 0.02, 0.03, 0.04]), "wz": np.int8([0, 1, -2, 3]), "b": reals(4)}
    compare(tmp_path, [micro("DynamicQuantizeMatMul", ["x", "w", "ws", "wz", "b"])], X, constants, rtol=1e-3, atol=1e-3)
    compare(tmp_path, [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                       micro("MatMulIntegerToFloat", ["q", "w", "s", "ws", "z", "wz", "b"])], X, constants, rtol=1e-3, atol=1e-3)
    compare(tmp_path, [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), node("MatMulInteger", ["q", "w", "z"], ["y"])], X,
            {"w": constants["w"]})


def test_integer_products_with_computed_parameters_equal_onnxruntime(tmp_path):
    feed = {"x": codes(np.uint8, 1, 2, 5, 5), "xs": np.float32(0.05), "xz": np.uint8(99), "w": codes(np.int8, 3, 2, 3, 3),
            "ws": np.float32([0.01, 0.02, 0.03]), "wz": np.zeros(3, np.int8), "ys": np.float32(0.2), "yz": np.uint8(128)}
    compare(tmp_path, [node("QLinearConv", list(feed), ["y"])], feed)
    compare(tmp_path, [node("ConvInteger", ["x", "w", "xz"], pads=[1, 0, 0, 1])], {k: feed[k] for k in ("x", "w", "xz")})


# DynamicQuantizeLSTM: 5 steps of 3 samples with 8 elements, 16 hidden units.
def dynamic_lstm(directions, code=np.int8, per_channel=False):
    constants = {}
    for name, scale, zero, depth in (("w", "ws", "wz", 8), ("r", "rs", "rz", 16)):
        shape = (directions, 64) if per_channel else (directions,)
        constants |= {name: codes(code, directions, depth, 64), scale: np.abs(reals(*shape, scale=0.001)) + np.float32(0.002),
                      zero: np.full(shape, 0 if per_channel else 3 if code == np.int8 else 120, code)}
    return constants | {"b": reals(directions, 128, scale=0.1), "h0": reals(directions, 3, 16, scale=0.5),
                        "c0": reals(directions, 3, 16), "p": reals(directions, 48, scale=0.3)}


DYNAMIC_LSTM = {
    "forward": ("forward", dynamic_lstm(1), ["b"], None, {}),
    "bare": ("forward", dynamic_lstm(1), [], None, {}),
    "reverse": ("reverse", dynamic_lstm(1, np.uint8), ["b", "h0", "c0"], None, {}),
    "bidirectional per channel": ("bidirectional", dynamic_lstm(2, per_channel=True), ["b", "h0", "c0"], None, {}),
    "lengths": ("bidirectional", dynamic_lstm(2), ["b", "h0", "c0"], [5, 2, 3], {}),
    "short lengths": ("bidirectional", dynamic_lstm(2), ["b", "h0", "c0"], [3, 2, 3], {}),
    "empty sequence": ("forward", dynamic_lstm(1), ["b", "h0", "c0"], [5, 0, 4], {}),
    "peepholes": ("bidirectional", dynamic_lstm(2), ["b", "h0", "c0", "p"], None, {}),
    "clip": ("forward", dynamic_lstm(1), ["b", "h0", "c0"], None, {"clip": 0.5}),
    "activations": ("forward", dynamic_lstm(1), ["b"], None, {"activations": ["HardSigmoid", "Relu", "Softsign"]}),
}


@pytest.mark.parametrize("name", DYNAMIC_LSTM)
def test_dynamically_quantized_lstm(name, tmp_path):
    direction, constants, optional, lengths, attributes = DYNAMIC_LSTM[name]
    used = {key: value for key, value in constants.items() if key not in ("b", "h0", "c0", "p") or key in optional}
    feed = {"x": reals(5, 3, 8)} | ({} if lengths is None else {"l": np.int32(lengths)})
    given = [key if key in used or key in feed else "" for key in ("b", "l", "h0", "c0", "p")]
    one = micro("DynamicQuantizeLSTM", ["x", "w", "r", *given, "ws", "wz", "rs", "rz"], ["y", "yh", "yc"], hidden_size=16,
                direction=direction, **attributes)
    # A state close to the middle of two codes may get the other one, which moves everything after it by 1/255 of the
    # range of a state times a weight. Of these networks none has such a state.
    compare(tmp_path, [one], feed, used, ["y", "yh", "yc"], rtol=1e-5, atol=2e-6)


def test_dynamically_quantized_lstm_with_computed_weights_is_named(tmp_path):
    constants = dynamic_lstm(1)
    feed = {"x": reals(5, 3, 8), "w": constants.pop("w")}
    one = micro("DynamicQuantizeLSTM", ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"], hidden_size=16)
    with pytest.raises(AssertionError, match="its weights are computed"):
        compare(tmp_path, [one], feed, {k: constants[k] for k in ("r", "ws", "wz", "rs", "rz")})


def test_accumulators_next_to_a_tie_get_the_code_of_onnxruntime(tmp_path):
    """Each channel's sum is its bias, for which multipliers that are rounded in another order give another code."""
    xs, ys = np.float32(0.0371), np.float32(0.1173)
    scales, biases = [], []
    sums = np.arange(1000, 60000).astype(np.float32)
    while len(scales) < 32:
        ws = np.float32(RANDOM.uniform(0.002, 0.01))
        right, other = xs * ws / ys, np.float32(float(xs) * float(ws) / float(ys))
        found = np.flatnonzero((np.rint(sums * right) != np.rint(sums * other)) & (sums * right < 120))
        if found.size:
            scales.append(ws)
            biases.append(int(sums[found[0]]))
    constants = {"xs": xs, "xz": np.uint8(120), "w": np.ones((32, 1, 1, 1), np.int8), "ws": np.float32(scales),
                 "wz": np.zeros(32, np.int8), "ys": ys, "yz": np.uint8(100), "b": np.int32(biases)}
    nodes = [node("QuantizeLinear", ["r", "xs", "xz"], ["x"]),
             node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]),
             node("DequantizeLinear", ["y", "ys", "yz"], ["z"])]
    compare(tmp_path, nodes, {"r": np.zeros((1, 1, 4, 4), np.float32)}, constants, ["z"], rtol=0, atol=1e-6)
