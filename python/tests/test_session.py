"""Running networks from Python."""

import gc
import pickle
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import bitfold

onnxruntime.set_default_logger_severity(4)


def model_of(node, inputs, outputs, opset=21) -> bytes:
    graph = helper.make_graph([node] if not isinstance(node, list) else node, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString()


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def test_outputs_are_those_of_onnx_runtime(lenet, digits):
    expected = onnxruntime.InferenceSession(lenet).run(None, {"input": digits})[0]
    session = bitfold.Session(lenet)
    assert np.allclose(session.run({"input": digits})["logits"], expected, atol=1e-4)
    assert np.array_equal(session.run(None, {"input": digits})[0], session.run({"input": digits})["logits"])
    assert np.array_equal(session.run(["logits"], {"input": digits})[0], session({"input": digits})["logits"])


def test_a_model_may_be_a_path_bytes_or_a_proto(lenet, digits):
    expected = bitfold.Session(lenet).run({"input": digits})["logits"]
    for model in (Path(lenet), Path(lenet).read_bytes(), onnx.load(lenet), bitfold.load(lenet)):
        assert np.array_equal(bitfold.Session(model).run({"input": digits})["logits"], expected)
    with pytest.raises(TypeError, match="model is a int; expected a path, bytes"):
        bitfold.load(3)


def test_the_interface_is_described(lenet):
    session = bitfold.Session(lenet, threads=2)
    assert session.inputs == [bitfold.ValueInfo("input", "float32", (None, 3, 28, 28))]
    assert [o.name for o in session.get_outputs()] == ["logits"]
    assert session.threads == 2


@pytest.mark.parametrize("change", [
    lambda x: x.astype(np.float64), lambda x: x.astype(">f4"), lambda x: np.asfortranarray(x), lambda x: x.tolist(),
    lambda x: np.repeat(x, 2, axis=0)[::2],
], ids=["float64", "big endian", "Fortran order", "list", "strides"])
def test_arrays_of_other_layouts_and_widths_are_converted(lenet, digits, change):
    session = bitfold.Session(lenet)
    assert np.array_equal(session.run({"input": change(digits)})["logits"], session.run({"input": digits})["logits"])


def test_read_only_arrays_are_accepted(lenet, digits):
    digits.flags.writeable = False
    assert bitfold.Session(lenet).run({"input": digits})["logits"].shape == (48, 10)


def test_an_output_that_is_an_input_is_a_copy():
    model = model_of(helper.make_node("Identity", ["x"], ["y"]), [value("x", TensorProto.FLOAT, ["n"])],
                     [value("y", TensorProto.FLOAT, ["n"])])
    x = np.arange(1000, dtype=np.float32)
    y = bitfold.Session(model).run({"x": x})["y"]
    x[:] = -1
    assert np.array_equal(y, np.arange(1000))


def test_outputs_outlive_the_session_and_can_be_written(lenet, digits):
    session = bitfold.Session(lenet)
    first = session.run({"input": digits})["logits"]
    kept = first.copy()
    first += 1
    assert np.array_equal(session.run({"input": digits})["logits"], kept)
    del session
    gc.collect()
    assert np.array_equal(first, kept + 1)


TYPES = [(TensorProto.FLOAT16, "float16"), (TensorProto.DOUBLE, "float64"), (TensorProto.INT8, "int8"),
         (TensorProto.UINT8, "uint8"), (TensorProto.INT16, "int16"), (TensorProto.INT32, "int32"),
         (TensorProto.UINT32, "uint32"), (TensorProto.INT64, "int64"), (TensorProto.UINT64, "uint64"),
         (TensorProto.BOOL, "bool")]


@pytest.mark.parametrize("proto, name", TYPES, ids=[name for _, name in TYPES])
def test_every_type_of_numpy_passes_unchanged(proto, name):
    model = model_of(helper.make_node("Transpose", ["x"], ["y"]), [value("x", proto, [2, 3])], [value("y", proto, [3, 2])])
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(name)
    y = bitfold.Session(model).run({"x": x})["y"]
    assert y.dtype == np.dtype(name) and np.array_equal(y, x.T)


def test_bfloat16_becomes_the_type_of_ml_dtypes():
    import ml_dtypes
    model = model_of(helper.make_node("Add", ["x", "x"], ["y"]), [value("x", TensorProto.BFLOAT16, [3])],
                     [value("y", TensorProto.BFLOAT16, [3])])
    x = np.array([1, 2.5, -3], dtype=ml_dtypes.bfloat16)
    y = bitfold.Session(model).run({"x": x})["y"]
    assert y.dtype == ml_dtypes.bfloat16 and np.array_equal(y.astype(np.float32), [2, 5, -6])


FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]


@pytest.mark.parametrize("name", FLOAT8)
def test_reals_of_8_bits_pass_in_both_directions(name):
    import ml_dtypes
    proto = getattr(TensorProto, name.replace("_", "").upper())
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT), helper.make_node("Cast", ["y"], ["z"], to=proto)]
    model = model_of(nodes, [value("x", proto, [3])], [value("y", TensorProto.FLOAT, [3]), value("z", proto, [3])])
    x = np.array([1, 2, -0.5]).astype(getattr(ml_dtypes, name))
    outputs = bitfold.Session(model).run({"x": x})
    assert outputs["y"].tolist() == [1, 2, -0.5]
    assert outputs["z"].dtype == x.dtype and np.array_equal(outputs["z"].astype(np.float32), [1, 2, -0.5])


def test_types_of_ml_dtypes_are_not_taken_for_integers():
    import ml_dtypes
    x = np.array([1, 2, 3], dtype=ml_dtypes.bfloat16)
    def session(proto):
        return bitfold.Session(model_of(helper.make_node("Identity", ["x"], ["y"]), [value("x", proto, ["n"])],
                                        [value("y", proto, ["n"])]))
    with pytest.raises(bitfold.Error, match="expected uint16"):
        session(TensorProto.UINT16).run({"x": x})
    with pytest.raises(bitfold.Error, match="has type .* expected uint16"):
        session(TensorProto.UINT16).run({"x": np.zeros(3, [("a", "f4")])})
    assert session(TensorProto.FLOAT).run({"x": x})["y"].tolist() == [1, 2, 3]
    assert session(TensorProto.FLOAT).run({"x": [1, 2]})["y"].tolist() == [1, 2]


def test_other_elements_than_text_are_errors_of_string_inputs():
    model = model_of(helper.make_node("StringConcat", ["x", "x"], ["z"]), [value("x", TensorProto.STRING, ["n"])],
                     [value("z", TensorProto.STRING, ["n"])])
    session = bitfold.Session(model)
    assert session.run({"x": [b"c\0d"]})["z"].tolist() == ["c\0dc\0d"]
    for wrong in (None, 3, float("nan")):
        with pytest.raises(bitfold.Error, match="input 'x' has an element that is neither text in Unicode nor bytes"):
            session.run({"x": [wrong]})


def test_run_takes_the_keywords_of_onnx_runtime(lenet, digits):
    session = bitfold.Session(lenet)
    expected = session.run({"input": digits})["logits"]
    assert np.array_equal(session.run(output_names=None, input_feed={"input": digits}, run_options=None)[0], expected)
    assert np.array_equal(session.run("logits", {"input": digits})[0], expected)
    with pytest.raises(TypeError, match="run expects a dictionary of arrays by input name, not a ndarray"):
        session.run(digits)
    with pytest.raises(bitfold.Error, match="'z' is not an input"):
        session.profile({"input": digits, "z": digits})


FORK = """
import multiprocessing, sys, numpy as np, bitfold
x = np.zeros((1, 3, 28, 28), np.float32)
bitfold.Session(sys.argv[1], threads=2).run({"input": x})
def work(threads):
    try:
        return str(bitfold.Session(sys.argv[1], threads=threads).run({"input": x})["logits"].shape)
    except bitfold.Error as error:
        return str(error)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.map_async(work, [1, 2]).get(timeout=60))
"""


def test_a_forked_process_runs_on_one_thread_and_refuses_more(lenet):
    import subprocess
    import sys
    result = subprocess.run([sys.executable, "-c", FORK, lenet], capture_output=True, text=True, timeout=90)
    assert "(1, 10)" in result.stdout and "only threads=1 works" in result.stdout, result.stdout + result.stderr


def test_strings_pass_in_both_directions():
    model = model_of(helper.make_node("StringConcat", ["x", "y"], ["z"]),
                     [value("x", TensorProto.STRING, [2]), value("y", TensorProto.STRING, [2])],
                     [value("z", TensorProto.STRING, [2])])
    z = bitfold.Session(model).run({"x": ["ä", "b"], "y": np.array(["c", ""], dtype=object)})["z"]
    assert z.tolist() == ["äc", "b"]


def test_sequences_are_lists():
    sequence = helper.make_tensor_sequence_value_info
    model = model_of(helper.make_node("SequenceInsert", ["s", "x"], ["t"]),
                     [sequence("s", TensorProto.FLOAT, ["n"]), value("x", TensorProto.FLOAT, ["n"])],
                     [sequence("t", TensorProto.FLOAT, ["n"])])
    items = [np.float32([1, 2]), np.float32([3])]
    result = bitfold.Session(model).run({"s": items, "x": np.float32([4, 5, 6])})["t"]
    assert [item.tolist() for item in result] == [[1, 2], [3], [4, 5, 6]]


def test_empty_arrays_and_scalars_pass():
    model = model_of(helper.make_node("Add", ["x", "b"], ["y"]),
                     [value("x", TensorProto.FLOAT, ["n"]), value("b", TensorProto.FLOAT, [])],
                     [value("y", TensorProto.FLOAT, ["n"])])
    session = bitfold.Session(model)
    assert session.run({"x": np.zeros(0, np.float32), "b": np.float32(2)})["y"].shape == (0,)
    assert session.run({"x": [1.0], "b": 2.0})["y"].tolist() == [3]


@pytest.mark.parametrize("feeds, message", [
    ({}, "the feeds lack input 'input'; the inputs are 'input'"),
    ({"input": np.zeros((1, 3, 28, 28), np.float32), "z": 1}, "'z' is not an input; the inputs are 'input'"),
    ({"input": np.zeros((1, 3, 28, 28), np.int32)}, "input 'input' has type int32; expected float32"),
    ({"input": np.zeros((3, 28, 28), np.float32)}, "input 'input' has shape ?x3x28x28, but 3x28x28 is given"),
    ({"input": object()}, "input 'input' has type object; expected float32"),
    ({"input": [[1, 2], [3]]}, "inhomogeneous"),
], ids=["missing", "unknown", "type", "shape", "object", "ragged"])
def test_wrong_feeds_are_errors_that_name_them(lenet, feeds, message):
    session = bitfold.Session(lenet)
    with pytest.raises((bitfold.Error, ValueError)) as error:
        session.run(feeds)
    assert message in str(error.value)


def test_an_unknown_output_is_an_error(lenet, digits):
    with pytest.raises(bitfold.Error, match="'nope' is not an output; the outputs are 'logits'"):
        bitfold.Session(lenet).run(["nope"], {"input": digits})


def test_a_damaged_file_is_an_error_with_its_name(tmp_path, lenet):
    path = tmp_path / "half.onnx"
    path.write_bytes(Path(lenet).read_bytes()[:2000])
    with pytest.raises(bitfold.Error, match="half.onnx"):
        bitfold.load(path)


def test_threads_may_run_one_session_at_the_same_time(lenet, digits):
    session = bitfold.Session(lenet)
    expected = [session.run({"input": digits[i:i + 1]})["logits"] for i in range(48)]
    wrong = []

    def work(offset):
        for i in range(200):
            at = (i + offset) % 48
            if not np.array_equal(session.run({"input": digits[at:at + 1]})["logits"], expected[at]):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(7 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_session_can_be_pickled(lenet, digits):
    session = bitfold.quantize(lenet, digits).session()
    copy = pickle.loads(pickle.dumps(session))
    assert np.array_equal(copy.run({"input": digits})["logits"], session.run({"input": digits})["logits"])


def test_the_profile_lists_every_step(lenet, digits):
    steps = bitfold.quantize(lenet, digits).session().profile({"input": digits[:1]})
    assert any(step.is_integer and "Conv" in step.op for step in steps)
    assert all(step.time_us >= 0 for step in steps) and sum(step.macs for step in steps) > 0
