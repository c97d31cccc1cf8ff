#!/usr/bin/env python3
"""Accuracy lost by quantization with Bitfold and with other tools: the same float models, calibrated on the same arrays.

    .venv/bin/python bench/peers/accuracy.py [--tool build/bitfold] [--data ../shared] [--json FILE] [--models M ...]
                                             [--settings S ...] [--rows WORD ...]

ONNX Runtime runs every file, including Bitfold's, on the same evaluation inputs; the outputs are compared with the float model's.
On CPUs without VNNI it is set to exact sums. Each quantization is a separate process; its peak memory is the operating system's
figure. A peer runs with .venv/PEER/bin/python if it exists, else with this Python; the rows of a missing peer say so.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from samples import MODELS, PRETRAINED, load


@dataclass(frozen=True)
class Row:
    name: str
    tool: str
    options: tuple = ()  # flags of Bitfold, or a peer's options by name
    settings: tuple = ("W8A8 per channel", "W8A8 per tensor", "W4A8 per channel")


ALL = MODELS | PRETRAINED
SETTINGS = {  # flags of Bitfold; options of quantizers.py
    "W8A8 per channel": ([], {"weight_bits": 8, "per_channel": True}),
    "W8A8 per tensor": (["--granularity", "per_tensor"], {"weight_bits": 8, "per_channel": False}),
    "W4A8 per channel": (["--weight-bits", "4"], {"weight_bits": 4, "per_channel": True}),
}
EIGHT_BITS = ("W8A8 per channel", "W8A8 per tensor")
FOUR_BITS = ("W4A8 per channel",)
ROWS = [
    Row("Bitfold", "bitfold"),
    Row("Bitfold --observer auto", "bitfold", ("--observer", "auto"), EIGHT_BITS),
    Row("Bitfold --rounding nearest", "bitfold", ("--rounding", "nearest"), FOUR_BITS),
    Row("ONNX Runtime, min_max", "onnxruntime", (("calibration", "MinMax"),)),
    Row("ONNX Runtime, entropy", "onnxruntime", (("calibration", "Entropy"),)),
    Row("ONNX Runtime, percentile", "onnxruntime", (("calibration", "Percentile"),)),
    Row("NNCF", "nncf", (("preset", "performance"), ("fast_bias_correction", True))),
    Row("NNCF, mixed, accurate bias correction", "nncf", (("preset", "mixed"), ("fast_bias_correction", False))),
    Row("AIMET, min_max", "aimet", (("scheme", "min_max"),)),
    Row("AIMET, tf_enhanced", "aimet", (("scheme", "tf_enhanced"),)),
    Row("AIMET, equalized, tf_enhanced", "aimet", (("scheme", "tf_enhanced"), ("equalize", True)), ("W8A8 per tensor",)),
    Row("AIMET, sequential MSE", "aimet", (("scheme", "min_max"), ("rounding", "seq_mse")), FOUR_BITS),
    Row("AIMET, AdaRound, 1,000 steps", "aimet",
        (("scheme", "tf_enhanced"), ("rounding", "adaround"), ("iterations", 1000)), FOUR_BITS),
    Row("Neural Compressor, min_max", "inc", (("calibration", "MinMax"),)),
    Row("Neural Compressor, entropy", "inc", (("calibration", "Entropy"),)),
]
# A small process that starts the measured one, because a child's figure includes the memory its parent held.
MEASURE = """
import resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
print("\\n", time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@dataclass
class Case:
    """One model with its arrays and the float model's outputs."""

    name: str
    path: Path
    samples: Path
    inputs: np.ndarray
    labels: np.ndarray | None
    outputs: list = field(default_factory=list)


def run(path: Path, inputs: np.ndarray) -> list[np.ndarray]:
    """All outputs, each stacked over the samples."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # same results; other processes may be running
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: inputs[i : i + 1]}) for i in range(len(inputs))]
    return [np.concatenate(output) for output in zip(*outputs)]


def sqnr_db(signal: np.ndarray, result: np.ndarray) -> float:
    signal = signal.astype(np.float64)
    noise = float(((signal - result) ** 2).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10((signal**2).sum() / noise))


def without_output_grids(path: Path) -> Path | None:
    """The same file without grids on its outputs: some tools quantize outputs to 8 bits, others do not."""
    model = onnx.load(path)
    producers = {name: node for node in model.graph.node for name in node.output}
    found = False
    for output in model.graph.output:
        dequantize = producers[output.name]
        quantize = producers.get(dequantize.input[0])
        if dequantize.op_type != "DequantizeLinear" or quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        found = True
        inner = quantize.input[0]
        dequantize.output[0] = output.name + "_on_grid"
        for node in model.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == inner:
                        names[i] = output.name
    result = path.with_suffix(".outputs.onnx")
    onnx.save(model, result)
    return result if found else None


def measured(command: list[str]) -> tuple[str, float, float]:
    """Standard output; seconds; peak MB."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(lines[-1][:200] if lines else f"exit status {done.returncode}")
    text, figures = done.stdout.rstrip().rsplit("\n", 1)
    seconds, kilobytes = figures.split()
    return text, float(seconds), float(kilobytes) / 1024


def quantize(row: Row, setting: str, case: Case, output: Path, tool: str) -> dict:
    flags, options = SETTINGS[setting]
    if row.tool == "bitfold":
        command = [tool, "quantize", str(case.path), "--calibrate", str(case.samples), *flags, *row.options, "-o", str(output)]
        _, seconds, megabytes = measured(command)
        return {"seconds": seconds, "peak_mb": megabytes}
    own = Path(sys.prefix) / row.tool / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    script = str(Path(__file__).with_name("quantizers.py"))
    options = json.dumps(options | dict(row.options))
    text, _, megabytes = measured([python, script, row.tool, str(case.path), str(case.samples), str(output), options])
    return {"peak_mb": megabytes} | json.loads(text.strip().splitlines()[-1])


def score(case: Case, output: Path) -> dict:
    results = run(output, case.inputs)
    figures = {"sqnr_db": min(sqnr_db(y, q) for y, q in zip(case.outputs, results))}
    if ALL[case.name].has_classes:
        classes = results[0].argmax(axis=1)
        figures["agreement"] = float((classes == case.outputs[0].argmax(axis=1)).mean())
        if case.labels is not None:
            figures["top1"] = float((classes == case.labels).mean())
    if bare := without_output_grids(output):
        figures["sqnr_db_float_outputs"] = min(sqnr_db(y, q) for y, q in zip(case.outputs, run(bare, case.inputs)))
    return figures


def prepare(name: str, arguments: argparse.Namespace, folder: Path) -> Case:
    model, data = ALL[name], arguments.data / "data"
    samples, _ = load(data, model.calibration, model, arguments.samples)
    inputs, labels = load(data, model.evaluation, model, arguments.limit)
    path = folder / f"{name}.npy"
    np.save(path, samples)
    network = (arguments.data / "models" if name in MODELS else arguments.pretrained) / f"{name}.onnx"
    case = Case(name, network, path, inputs, labels)
    case.outputs = run(case.path, inputs)
    return case


def cells(result: dict) -> list[str]:
    if "failed" in result:
        return [result["failed"]] + ["–"] * 5
    percent = [f"{100 * result[key]:.2f} %" if key in result else "–" for key in ("agreement", "top1")]
    bare = result.get("sqnr_db_float_outputs", result["sqnr_db"])
    return [f"{result['sqnr_db']:.1f}", f"{bare:.1f}", *percent, f"{result['seconds']:.1f}", f"{result['peak_mb']:.0f}"]


def print_table(state: dict) -> None:
    print("\n| model | setting | tool | SQNR, dB | outputs in float | agreement | top-1 | s | MB |")
    print("|---" * 9 + "|")
    order = [list(ALL), list(SETTINGS), [row.name for row in ROWS]]
    place = lambda result: [names.index(result[key]) for names, key in zip(order, ("model", "setting", "row"))]
    last = None
    for result in sorted((r for r in state["results"] if r["row"] in order[2]), key=place):
        if result["model"] != last and result["model"] in state["float_top1"]:
            print(f"| {result['model']} | float | | | | | {100 * state['float_top1'][result['model']]:.2f} % | | |")
        last = result["model"]
        print(f"| {result['model']} | {result['setting']} | {result['row']} | {' | '.join(cells(result))} |")


def measure_model(name: str, rows: list[Row], arguments: argparse.Namespace, folder: Path, state: dict) -> None:
    known = {(result["model"], result["setting"], result["row"]) for result in state["results"]}
    wanted = [(setting, row) for setting in arguments.settings for row in rows
              if setting in row.settings and (name, setting, row.name) not in known]
    if not wanted:
        return
    case = prepare(name, arguments, folder)
    if case.labels is not None:
        state["float_top1"][name] = float((case.outputs[0].argmax(axis=1) == case.labels).mean())
    for setting, row in wanted:
        words = "-".join((name, setting, row.name)).replace(",", "").replace(" ", "-")
        output = folder / f"{words}.onnx"
        result = {"model": name, "setting": setting, "row": row.name}
        try:
            result |= quantize(row, setting, case, output, arguments.tool)
            result |= {"failed": "–"} if "unsupported" in result else score(case, output)
        except Exception as error:  # a peer's failure is a result, too
            result["failed"] = f"fails: {error}"
        if version := result.pop("version", None):
            state["versions"][row.tool] = version
        state["results"].append(result)
        print(f"{name}, {setting}, {row.name}: {', '.join(cells(result))}", file=sys.stderr, flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(state, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(ALL), metavar="MODEL")
    parser.add_argument("--pretrained", type=Path, default=Path("."), metavar="FOLDER", help="the folder written by pretrained.py")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--rows", nargs="+", default=[""], metavar="WORD", help="only rows whose name contains one of the words")
    parser.add_argument("--samples", type=int, default=100, help="maximum number for calibration")
    parser.add_argument("--limit", type=int, default=1000, help="maximum number for evaluation")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="keep the results in the JSON file and measure the rest")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder in which to keep quantized files")
    arguments = parser.parse_args()

    rows = [row for row in ROWS if any(word.lower() in row.name.lower() for word in arguments.rows)]
    state = {"versions": {"onnxruntime": onnxruntime.__version__}, "float_top1": {}, "results": []}
    if arguments.resume and arguments.json and arguments.json.exists():
        state = json.loads(arguments.json.read_text())
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        for name in arguments.models:
            measure_model(name, rows, arguments, folder, state)
    print_table(state)


if __name__ == "__main__":
    main()
