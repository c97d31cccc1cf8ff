"""ONNX's own conformance suite, through the `bitfold` program and through ONNX Runtime.

Each case of the package `onnx` is one small network with inputs and the outputs that the standard demands. Modes:
  run        bitfold run
  simulate   bitfold run --simulate
  fold       bitfold fold; ONNX Runtime then runs the folded file
  peer       ONNX Runtime runs the original file
Results: passed, refused (exit status 1 and a message), wrong, crashed, timeout. A file holds a sequence `x` as the
arrays `x_0`, `x_1`, ...; an empty optional has none. Two older releases demand a wrong result, which ONNX Runtime does
not give either: test_sequence_insert_at_front of onnx 1.8.1 and test_col2im_pads of 1.13.1.

    .venv/bin/python tests/interop/conformance.py [--tool build/bitfold] [--cases WORD] [--suite FOLDER]
                                                  [--modes run ...] [--json FILE] [--table docs/operators.md]
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.test_case import TestCase

# Their outputs are random numbers, which the standard does not fix.
RANDOM = ("Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial")
# The suite stores uninitialized doubles in them. Reals are computed in float32, where such numbers may overflow.
BEYOND_FLOAT32 = ("test_operator_add_broadcast", "test_operator_add_size1_broadcast",
                  "test_operator_add_size1_right_broadcast", "test_operator_add_size1_singleton_broadcast",
                  "test_operator_addconstant")

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
MODES = ("run", "simulate", "fold", "peer")
TIMEOUT = 60  # seconds per process


def cases(word="", suite=None):
    """All cases whose name contains the word, of the installed package or of the folder of another release. The kind
    `real` needs downloads and is left out."""
    if suite:
        return [TestCase(name=folder.name, model_name=folder.name, url=None, model_dir=str(folder), model=None,
                         data_sets=None, kind=kind, rtol=1e-3, atol=1e-7)
                for kind in KINDS for folder in sorted((suite / kind).iterdir()) if word in folder.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [case for kind in KINDS for case in loader.load_model_tests(kind=kind) if word in case.name]


def _stored(path, value):
    kind = value.type.WhichOneof("value")
    made = {"sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto}.get(kind, onnx.TensorProto)()
    made.ParseFromString(path.read_bytes())
    if kind == "sequence_type":
        return numpy_helper.to_list(made)
    return numpy_helper.to_optional(made) if kind == "optional_type" else numpy_helper.to_array(made)


def model_of(case):
    return case.model if case.model is not None else onnx.load(os.path.join(case.model_dir, "model.onnx"))


def samples_of(case, model):
    """Pairs of inputs and expected outputs, by name."""
    names = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if case.data_sets is not None:
        for arrays in case.data_sets:
            yield tuple(dict(zip(names[k], map(_array, arrays[k]))) for k in (0, 1))
        return
    for folder in sorted(pathlib.Path(case.model_dir).glob("test_data_set_*")):
        yield tuple({value.name: _stored(path, value)
                     for i, value in enumerate(values)
                     if (path := folder / f"{word}_{i}.pb").exists()}
                    for word, values in (("input", model.graph.input), ("output", model.graph.output)))


def _array(value):
    for kind, convert in ((onnx.TensorProto, numpy_helper.to_array), (onnx.SequenceProto, numpy_helper.to_list),
                          (onnx.OptionalProto, numpy_helper.to_optional)):
        if isinstance(value, kind):
            return convert(value)
    return value


def arrays_of(values):
    """The arrays that hold values in an .npz file, by name."""
    arrays = {}
    for name, value in values.items():
        items = {f"{name}_{i}": item for i, item in enumerate(value)} if isinstance(value, list) else {name: value}
        for own, item in items.items():
            if item is not None:
                item = np.asarray(item)
                arrays[own] = item.astype(str) if item.dtype.kind in "OS" else item
    return arrays


def difference(case, expected, given, is_random):
    """Why an output is wrong; None if it is right."""
    expected, given = np.asarray(expected), np.asarray(given)
    rtol, atol = case.rtol, case.atol
    # The expected values are rounded to bfloat16 after each step, ours once at the end: the last two bits may differ.
    if expected.dtype.name == "bfloat16":
        rtol = max(rtol, 2**-6)
    # The expected zeros of inverse transforms are rounding errors of up to 2e-7.
    if case.name.startswith("test_dft"):
        atol = max(atol, 1e-6)
    if given.dtype.kind == "V" and given.dtype.itemsize == expected.dtype.itemsize:
        given = given.view(expected.dtype)
    if expected.dtype.kind in "OSU":
        return None if np.array_equal(expected.astype(str), given.astype(str)) else "strings differ"
    if given.dtype != expected.dtype or given.shape != expected.shape:
        return f"{given.dtype}{list(given.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if is_random or case.name in BEYOND_FLOAT32:
        return None
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    try:
        np.testing.assert_allclose(given.astype(wide), expected.astype(wide), rtol=rtol, atol=atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return None


def _tool(*arguments):
    try:
        process = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return "timeout", ""
    message = process.stderr.strip()
    if process.returncode == 0:
        return None, message
    return ("refused" if process.returncode == 1 and message.startswith("bitfold:") else "crashed"), message


def _run(tool, model, inputs, folder, *flags):
    np.savez(folder / "in.npz", **arrays_of(inputs))
    status, message = _tool(tool, "run", model, "--input", folder / "in.npz", "--output", folder / "out.npz", *flags)
    if status:
        return status, message
    with np.load(folder / "out.npz", allow_pickle=False) as arrays:
        return None, dict(arrays)


def _peer(path, inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        feed = {name: np.asarray(value) if isinstance(value, np.generic) else value for name, value in inputs.items()}
        return None, dict(zip(names, session.run(None, feed)))
    except Exception as error:  # noqa: BLE001 - the peer's refusals have many types
        return "refused", str(error)


def judge(case, tool, modes=MODES):
    """The operator that the case is about, and the result of each mode with its message."""
    results = {}
    model = model_of(case)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path = folder / "model.onnx"
        onnx.save(model, path)
        samples = list(samples_of(case, model))
        is_random = any(node.op_type in RANDOM for node in model.graph.node)
        for mode in modes:
            results[mode] = _judge_mode(mode, case, tool, path, samples, folder, is_random)
    return {"operator": operator_of(model), **results}


def _judge_mode(mode, case, tool, path, samples, folder, is_random):
    runnable = path
    if mode == "fold":
        runnable = folder / "folded.onnx"
        status, message = _tool(tool, "fold", path, "-o", runnable)
        if status:
            return status, message
    for inputs, outputs in samples:
        if mode == "run":
            status, given = _run(tool, path, inputs, folder)
        elif mode == "simulate":
            status, given = _run(tool, path, inputs, folder, "--simulate")
        else:
            status, given = _peer(runnable, inputs)
        if status:
            return status, given
        expected_arrays, given = arrays_of(outputs), arrays_of(given)
        for name, value in outputs.items():
            beyond = f"{name}_{len(value)}" if isinstance(value, list) else name
            if not isinstance(value, np.ndarray) and beyond in given and beyond not in expected_arrays:
                return "wrong", f"unexpected {beyond}"
        for name, expected in expected_arrays.items():
            why = f"no output '{name}'" if name not in given else difference(case, expected, given[name], is_random)
            if why:
                return "wrong", f"{name}: {why}"
    return "passed", ""


def operator_of(model):
    """The operator that the case is about: its first node that does more than carry a constant."""
    kinds = [node.op_type for node in model.graph.node]
    return next((kind for kind in kinds if kind not in ("Constant", "Identity", "Cast")), kinds[0] if kinds else "none")


def judge_all(tool, word="", modes=MODES, workers=os.cpu_count(), suite=None):
    chosen = cases(word, suite)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda case: judge(case, tool, modes), chosen))
    return {case.name: result for case, result in zip(chosen, results)}


def counts(results, mode):
    return collections.Counter(result[mode][0] for result in results.values())


def table(results):
    """Markdown: per operator, the cases that Bitfold and ONNX Runtime pass."""
    rows = collections.defaultdict(lambda: [0, 0, 0, 0])
    for result in results.values():
        row = rows[result["operator"]]
        row[0] += 1
        for column, mode in ((1, "run"), (2, "fold"), (3, "peer")):
            row[column] += mode in result and result[mode][0] == "passed"
    lines = ["| operator | cases | run | folded | ONNX Runtime |", "|---|---|---|---|---|"]
    total = [sum(column) for column in zip(*rows.values())]
    lines += ["| {} | {} |".format(name, " | ".join(map(str, row))) for name, row in sorted(rows.items())]
    lines.append("| **all** | {} |".format(" | ".join(f"**{n}**" for n in total)))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default=ROOT / "build" / "bitfold", type=pathlib.Path)
    parser.add_argument("--cases", default="", metavar="WORD", help="only cases whose name contains it")
    parser.add_argument("--suite", metavar="FOLDER", type=pathlib.Path,
                        help="instead of the installed suite: the folder onnx/backend/test/data of another release of onnx")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--json", type=pathlib.Path, help="every case's results")
    parser.add_argument("--table", type=pathlib.Path, help="write the table by operator to this file")
    arguments = parser.parse_args()
    results = judge_all(arguments.tool, arguments.cases, arguments.modes, suite=arguments.suite)
    for mode in arguments.modes:
        print(f"{mode}: {dict(counts(results, mode))}")
    for name, result in results.items():
        for mode in arguments.modes:
            if result[mode][0] in ("wrong", "crashed", "timeout") and mode != "peer":
                print(f"{name}, {mode}: {result[mode][0]}: {result[mode][1]}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    if arguments.table:
        arguments.table.write_text(
            "# Operators\n\n"
            "`tests/interop/conformance.py --table` writes this table: the cases of ONNX's conformance suite (onnx\n"
            f"{onnx.__version__}) that pass, by operator. *Folded* is the file that `bitfold fold` writes, run by ONNX Runtime\n"
            f"{onnxruntime.__version__}. NumPy cannot pass some element types to ONNX Runtime, so its column lacks cases that it can run.\n\n"
            + table(results))


if __name__ == "__main__":
    main()
