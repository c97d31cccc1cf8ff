#!/usr/bin/env python3
"""What quantizing costs: `bitfold quantize` and ONNX Runtime's quantize_static, same model, same 100 samples, percentile, in turn.

    .venv/bin/python bench/peers/cost.py [--tool build/bitfold] [--data ../shared] [--rounds 3] [MODEL ...]

Both get the samples as one .npy, both write a QDQ file of 8 bits per channel, both may use all cores. Bitfold's time is that of its
whole process; ONNX Runtime's leaves out the interpreter, the imports and reading the samples. Its preprocessing of the model, which
folds BatchNorm as Bitfold does, is part of it. Peak memory is the operating system's figure of the process. The table holds the
medians over rounds, and the least and the largest ratio of a round.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from accuracy import measured
from samples import MODELS, load

NAMES = ["darknet-tiny", "resnet20-cifar10", "vww-mobilenetv1", "lenet"]
SAMPLES = 100


def bitfold(tool: str, model: Path, samples: Path, output: Path) -> tuple[float, float]:
    _, seconds, megabytes = measured([tool, "quantize", str(model), "--calibrate", str(samples), "--observer", "percentile",
                                      "-o", str(output)])
    return seconds, megabytes


def onnxruntime(model: Path, samples: Path, output: Path) -> tuple[float, float]:
    script = str(Path(__file__).with_name("quantizers.py"))
    options = json.dumps({"weight_bits": 8, "per_channel": True, "calibration": "Percentile"})
    text, _, megabytes = measured([sys.executable, script, "onnxruntime", str(model), str(samples), str(output), options])
    return json.loads(text.strip().splitlines()[-1])["seconds"], megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL")
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    print("| model | Bitfold, s | ONNX Runtime, s | ratio | Bitfold, MB | ONNX Runtime, MB | ratio |\n|" + "---|" * 7)
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
        for k, form in ((0, "{:.2f}"), (1, "{:.0f}")):
            ratios = [them[k] / us[k] for us, them in zip(ours, theirs)]
            cells += [form.format(statistics.median(us[k] for us in ours)),
                      form.format(statistics.median(them[k] for them in theirs)),
                      f"{statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
