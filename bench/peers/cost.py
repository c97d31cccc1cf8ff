#!/usr/bin/env python3
"""Time and memory of `bitfold quantize` and ONNX Runtime's quantize_static: same model, same 100 samples, percentile, alternating.

    .venv/bin/python bench/peers/cost.py [--tool build/bitfold] [--data ../shared] [--rounds 3] [MODEL ...]

Both read the samples from one .npy, write a QDQ file with 8 bits per channel, and may use all cores. Bitfold's time is that of its
whole process. ONNX Runtime's excludes the interpreter, the imports and reading the samples, but includes its preprocessing of the
model, which folds BatchNorm as Bitfold does. Processor time is the sum over all threads, which other work on the machine affects
little; ONNX Runtime's threads spin while they wait. Peak memory is the operating system's figure for the process. The table contains
the medians over rounds of each figure and of each round's ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from samples import MODELS, load

NAMES = ["darknet-tiny", "resnet20-cifar10", "vww-mobilenetv1", "lenet"]
SAMPLES = 100
# A small process that starts the measured one, because a child's figures include the memory its parent held.
MEASURE = """
import resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
wall, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
print("\\n", wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(code)
"""


def measured(command: list[str]) -> tuple[str, list[float]]:
    """Standard output; seconds, processor seconds, peak MB."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stderr}")
    text, figures = done.stdout.rstrip().rsplit("\n", 1)
    return text, [float(figure) for figure in figures.split()]


def bitfold(tool: str, model: Path, samples: Path, output: Path) -> list[float]:
    # quantize_static does not correct biases.
    command = [tool, "quantize", str(model), "--calibrate", str(samples), "--observer", "percentile", "--bias-correction", "none"]
    return measured([*command, "-o", str(output)])[1]


def onnxruntime(model: Path, samples: Path, output: Path) -> list[float]:
    script = str(Path(__file__).with_name("quantizers.py"))
    options = json.dumps({"weight_bits": 8, "per_channel": True, "calibration": "Percentile"})
    text, figures = measured([sys.executable, script, "onnxruntime", str(model), str(samples), str(output), options])
    inside = json.loads(text.strip().splitlines()[-1])
    return [inside["seconds"], inside["processor_seconds"], figures[2]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL")
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    print("| model | s | ONNX Runtime | ratio | processor s | ONNX Runtime | ratio | MB | ONNX Runtime | ratio |\n|" + "---|" * 10)
    for name in arguments.models:
        model = arguments.data / "models" / f"{name}.onnx"
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            x, _ = load(arguments.data / "data", MODELS[name].calibration, MODELS[name], SAMPLES)
            samples = folder / "samples.npy"
            np.save(samples, x)
            ours, theirs = [], []
            for _ in range(arguments.rounds):
                ours.append(bitfold(arguments.tool, model, samples, folder / "ours.onnx"))
                theirs.append(onnxruntime(model, samples, folder / "theirs.onnx"))
        cells = []
        for us, them, form in zip(zip(*ours), zip(*theirs), ("{:.2f}", "{:.2f}", "{:.0f}")):
            ratio = statistics.median(b / a for a, b in zip(us, them))
            cells += [form.format(statistics.median(us)), form.format(statistics.median(them)), f"{ratio:.1f}x"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
