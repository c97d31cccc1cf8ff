"""Quantizing from Python."""

import inspect
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import bitfold

TOOL = os.environ.get("BITFOLD_TOOL", "bitfold")


def saved(quantized, path) -> bytes:
    quantized.save(path)
    return Path(path).read_bytes()


class Reader:
    """As onnxruntime.quantization.CalibrationDataReader."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


FORMS = {
    "array": lambda x: x,
    "dictionary": lambda x: {"input": x},
    "list of samples": lambda x: list(x),
    "batches with labels": lambda x: [(b, np.zeros(len(b), np.uint8)) for b in (x[:16], x[16:20], x[20:])],
    "labels in a column": lambda x: [[x, np.zeros((len(x), 1), np.int64)]],
    "tuples with labels": lambda x: [(batch, np.zeros(len(batch), np.int64)) for batch in (x[:16], x[16:])],
    "dictionaries": lambda x: [{"input": x[i:i + 1]} for i in range(len(x))],
    "generator": lambda x: (sample for sample in x),
    "function": lambda x: lambda: iter(x),
    "reader": lambda x: Reader([{"input": x[i:i + 1]} for i in range(len(x))]),
    "memoryview": lambda x: memoryview(x),
    "float64": lambda x: x.astype(np.float64),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_samples_gives_the_file_of_the_tool(lenet, digits, tmp_path, form):
    np.save(tmp_path / "x.npy", digits)
    subprocess.run([TOOL, "quantize", lenet, "--calibrate", tmp_path / "x.npy", "-o", tmp_path / "tool.onnx"], check=True,
                   capture_output=True)
    assert saved(bitfold.quantize(lenet, FORMS[form](digits)), tmp_path / "y.onnx") == (tmp_path / "tool.onnx").read_bytes()
    assert saved(bitfold.quantize(lenet, tmp_path / "x.npy"), tmp_path / "y.onnx") == (tmp_path / "tool.onnx").read_bytes()


def test_a_transform_prepares_every_item(lenet, digits, tmp_path):
    plain = saved(bitfold.quantize(lenet, digits), tmp_path / "a.onnx")
    items = [{"pixels": sample * 2, "name": "x"} for sample in digits]
    assert saved(bitfold.quantize(lenet, items, transform=lambda item: item["pixels"] / 2), tmp_path / "b.onnx") == plain


def test_flags_of_the_tool_prepare_files(resnet, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    flags = {"mean": [0.485, 0.456, 0.406], "std": "0.229,0.224,0.225"}
    subprocess.run([TOOL, "quantize", resnet, "--calibrate", tmp_path / "x.npy", "--mean", "0.485,0.456,0.406", "--std",
                    "0.229,0.224,0.225", "-o", tmp_path / "tool.onnx"], check=True, capture_output=True)
    assert saved(bitfold.quantize(resnet, pixels, preprocess=flags), tmp_path / "y.onnx") == (tmp_path / "tool.onnx").read_bytes()


def test_a_limit_ends_the_samples(lenet, digits):
    endless = itertools.cycle(digits)
    assert bitfold.quantize(lenet, endless, limit=20).sample_count == 20
    assert bitfold.quantize(lenet, digits, limit=5).sample_count == 5


def test_an_item_whose_first_axis_is_a_length_is_one_run(tmp_path):
    from onnx import TensorProto, helper, numpy_helper
    random = np.random.default_rng(3)
    weights = [numpy_helper.from_array(random.standard_normal((8, 8), dtype=np.float32), name) for name in "vw"]
    axes = numpy_helper.from_array(np.array([0]), "axes")
    nodes = [helper.make_node("MatMul", ["x", "v"], ["a"]), helper.make_node("ReduceSum", ["a", "axes"], ["b"]),
             helper.make_node("MatMul", ["b", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [*weights, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    items = [{"x": random.random((20, 8), dtype=np.float32)} for _ in range(6)]
    quantized = bitfold.quantize(model, items)
    assert quantized.sample_count == 6 and quantized.compare(items).sqnr_db > 35
    assert bitfold.quantize(model, [item["x"] for item in items]).sample_count == 6


def test_arrays_are_cut_to_a_fixed_batch(tmp_path):
    from onnx import TensorProto, helper, numpy_helper
    weights = numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert bitfold.quantize(model, np.random.rand(24, 8)).sample_count == 6


@pytest.mark.parametrize("labels", [
    lambda n: np.zeros(n), lambda n: np.eye(10)[:n], lambda n: np.zeros(n - 1, np.int64),
], ids=["float", "one-hot", "too few"])
def test_labels_of_other_forms_are_errors_of_evaluate(lenet, digits, labels):
    with pytest.raises(bitfold.Error, match="the labels of a sample are .* expected one integer for each of its 8 rows"):
        bitfold.evaluate(lenet, [(digits[:8], labels(8))])
    with pytest.raises(bitfold.Error, match="8 of 9 samples have labels; give all of them one, or none"):
        bitfold.evaluate(lenet, [(digits[:8], np.zeros(8, np.int64)), digits[8:9]])


def test_samples_of_different_lengths_are_runs_of_their_own(real, tmp_path):
    folder = real / "magika"
    files = sorted((folder / "calib").glob("*.npz"))[:8]
    items = [dict(np.load(file)) for file in files]
    quantized = bitfold.quantize(folder / "model.onnx", items)
    assert quantized.sample_count == len(items)


def test_the_samples_leave_no_files(lenet, digits):
    before = set(os.listdir(tempfile.gettempdir()))
    bitfold.quantize(lenet, list(digits))
    with pytest.raises(bitfold.Error):
        bitfold.quantize(lenet, [np.zeros((2, 2), np.float32)])
    assert {name for name in set(os.listdir(tempfile.gettempdir())) - before if name.startswith("bitfold-")} == set()


def test_the_keywords_are_the_fields_of_the_recipe():
    keywords = set(inspect.signature(bitfold.quantize).parameters)
    assert {field.name for field in bitfold.recipe_fields()} <= keywords


def test_settings_come_from_keywords_dictionaries_and_files(lenet, digits, tmp_path):
    (tmp_path / "recipe.toml").write_text('weight_bits = 4\nskip = ["/fc2/Gemm"]\n')
    by_keyword = bitfold.quantize(lenet, digits, weight_bits=4)
    assert by_keyword.recipe["weight_bits"] == 4
    assert saved(by_keyword, tmp_path / "a.onnx") == saved(bitfold.quantize(lenet, digits, recipe={"weight_bits": 4}), tmp_path / "b.onnx")
    node = next(layer.node for layer in by_keyword.layers if layer.op == "Gemm")
    (tmp_path / "recipe.toml").write_text(f'weight_bits = 4\nskip = ["{node}"]\n')
    from_file = bitfold.quantize(lenet, digits, recipe=tmp_path / "recipe.toml", activation_bits=16)
    assert from_file.recipe["activation_bits"] == 16 and from_file.recipe["skip"] == [node]
    assert [layer for layer in from_file.layers if layer.node == node][0].quantized is False
    repeated = bitfold.quantize(lenet, digits, recipe=from_file.recipe)
    assert saved(repeated, tmp_path / "a.onnx") == saved(from_file, tmp_path / "b.onnx")


def test_settings_may_be_numbers_of_numpy_and_single_names(lenet, digits):
    node = bitfold.quantize(lenet, digits).layers[0].node
    quantized = bitfold.quantize(lenet, digits, weight_bits=np.int64(4), skip=node)
    assert quantized.recipe["weight_bits"] == 4 and quantized.recipe["skip"] == [node]
    assert bitfold.quantize(lenet, digits, recipe=quantized.recipe, percentile=99.0).recipe["observer"] == "percentile"


def test_tuples_are_sizes_of_the_preprocessing(resnet):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3)).astype(np.uint8)
    options = {"resize": (32, 32), "mean": np.array([0.5, 0.5, 0.5]), "std": [0.25, 0.25, 0.25]}
    assert bitfold.quantize(resnet, pixels, preprocess=options).sample_count == 4


def test_without_samples_ranges_are_predicted(lenet):
    quantized = bitfold.quantize(lenet.replace("lenet.onnx", "lenet-bn.onnx"), None)
    assert quantized.sample_count == 0 and any(layer.quantized for layer in quantized.layers)


def test_the_result_agrees_with_the_float_network(resnet, cifar):
    images, labels = cifar
    quantized = bitfold.quantize(resnet, images[:128])
    comparison = quantized.compare(images[128:])
    assert comparison.sqnr_db > 25 and comparison.top1_agreement > 0.97 and comparison.sample_count == 272
    evaluation = bitfold.evaluate(quantized.model, [(images, labels)])
    assert evaluation.sample_count == 400 and 0.7 < evaluation.top1 < 0.9
    assert "same class on" in str(comparison)


def test_the_report_names_every_node(lenet, digits):
    quantized = bitfold.quantize(lenet, digits, skip=[])
    report = quantized.report()
    assert all(layer.node in str(report) and layer.node in report._repr_html_() for layer in quantized.layers)
    assert "calibrated on 48 samples" in str(report)


def test_a_metric_keeps_its_promise_with_few_layers_in_float(resnet, cifar):
    images, _ = cifar
    expected = bitfold.Session(resnet).run({"input": images})["logits"]

    def agreement(session):
        return -float(np.abs(session.run({"input": images})["logits"] - expected).max())

    loose = bitfold.quantize(resnet, images[:64], weight_bits=4, metric=agreement, max_drop=1e9)
    assert all(layer.quantized for layer in loose.layers if layer.op == "Conv")
    bound = -loose.metric / 2
    strict = bitfold.quantize(resnet, images[:64], weight_bits=4, metric=agreement, max_drop=bound)
    in_float = [layer for layer in strict.layers if layer.op == "Conv" and not layer.quantized]
    assert strict.metric >= strict.float_metric - bound and strict.float_metric == 0
    assert 0 < len(in_float) < 19


@pytest.mark.parametrize("arguments, message", [
    (dict(data=[]), "the samples are empty; pass about 100 typical inputs"),
    (dict(data=[{"z": 1}, {"z": 2}]), "a sample of input 'input' is int64 of shape (); expected float32 of shape (None, 3"),
    (dict(data=np.zeros((9, 3, 28, 28), np.int32)), "is int32 of shape (9, 3, 28, 28); expected float32"),
    (dict(data=[{"z": 1, "w": 2}]), "a sample lacks input 'input'; it has 'z', 'w'"),
    (dict(data=[(np.zeros(3),) * 4]), "a sample is a tuple of 4 values; the network has 1 inputs"),
    (dict(weight_bits=99), "recipe: weight_bits is 99; it must be 2 to 8"),
    (dict(recipe={"weigh_bits": 4}), "unknown key 'weigh_bits'; did you mean 'weight_bits'?"),
    (dict(observer="best"), "observer"),
    (dict(skip=["nope"]), "nope"),
    (dict(metric=lambda session: 0), "metric and max_drop belong together; pass both"),
    (dict(metric=lambda session: float("nan"), max_drop=1), "metric returned nan"),
    (dict(metric=lambda session: None, max_drop=1), "metric returned None"),
    (dict(metric=lambda session: 0, max_drop=-1), "max_drop is -1; it must be at least 0"),
    (dict(data=None, limit=3), "metric, transform, preprocess and limit need samples"),
    (dict(limit=0), "limit is 0; it must be at least 1"),
    (dict(data=3), "the samples are a int; pass a path, an array, or an iterable of samples"),
    (dict(data=[[np.zeros((3, 28, 28), np.float32)] * 2]), "a sample is a list of 2 values; the network has 1 inputs"),
    (dict(percentile=float("nan")), "percentile is nan; it must be finite"),
    (dict(data=np.full((8, 3, 28, 28), np.nan, np.float32)), "the samples"),
    (dict(preprocess={"siz": 3}), "siz"),
    (dict(data="no/such/folder"), "no/such/folder"),
    (dict(data="/dev/null", transform=abs), "transform needs samples from Python"),
])
def test_wrong_arguments_are_errors_that_name_them(lenet, digits, arguments, message):
    with pytest.raises(bitfold.Error) as error:
        bitfold.quantize(lenet, **{"data": digits, **arguments})
    assert message in str(error.value)


def test_an_error_in_the_samples_reaches_the_caller(lenet, digits):
    def samples():
        yield digits[0]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        bitfold.quantize(lenet, samples)


def test_a_quantized_network_is_refused(lenet, digits):
    with pytest.raises(bitfold.Error, match="is quantized already"):
        bitfold.quantize(bitfold.quantize(lenet, digits).model, digits)


def test_ctrl_c_ends_a_long_call(resnet, cifar):
    images, _ = cifar
    timer = threading.Timer(0.5, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        bitfold.quantize(resnet, images, rounding="adaround", weight_bits=4)
    timer.cancel()


PEAK = """
import resource, sys, numpy as np, bitfold
def samples():
    random = np.random.default_rng(0)
    for _ in range(int(sys.argv[2])):
        yield random.random((3, 224, 224), dtype=np.float32)
bitfold.quantize(sys.argv[1], samples, threads=1, progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    from onnx import TensorProto, helper, numpy_helper
    weights = numpy_helper.from_array(np.ones((4, 3, 7, 7), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], strides=[7, 7])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 224, 224])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weights])
    path = tmp_path / "conv.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    few, many = (int(subprocess.run([sys.executable, "-c", PEAK, path, str(n)], check=True, capture_output=True,
                                    text=True).stdout) for n in (50, 300))
    assert many < 1.05 * few


def test_importing_needs_no_more_than_numpy():
    code = "import sys, numpy; before = set(sys.modules); import bitfold; print(*{m.split('.')[0] for m in set(sys.modules) - before})"
    new = set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())
    assert new - set(sys.stdlib_module_names) <= {"bitfold", "numpy"}
