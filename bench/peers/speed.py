#!/usr/bin/env python3
"""Bitfold against ONNX Runtime on the same files, in the same run: one thread, batch 1, medians and ratios.

    .venv/bin/python bench/peers/speed.py [--tool build/bitfold] [--data ../shared] [--rounds 5] [MODEL ...]

Each model is quantized by Bitfold; both programs then run the float file and the very same int8 file, in turn, ROUNDS times;
the table holds the median over rounds of each round's median. Before it is timed, ONNX Runtime's output on the int8 file is
compared with Bitfold's. On CPUs without VNNI that comparison asks ONNX Runtime for exact sums, which it is not timed with: its
default there is faster, and saturates.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from samples import MODELS

NAMES = [name for name in MODELS if name != "lenet"]  # whose speed README.md has
SECONDS = 0.7  # of one round of one program


def bitfold(tool: str, *arguments: str) -> dict:
    done = subprocess.run([tool, *arguments, "--json", "-"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def onnxruntime_session(path: Path, exact: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def median_us(session: onnxruntime.InferenceSession, feed: dict) -> float:
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < SECONDS or len(times) < 20:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def outputs_agree(tool: str, path: Path, session: onnxruntime.InferenceSession, x: np.ndarray, folder: Path) -> float:
    """SQNR in dB between the two programs' first outputs on the int8 file."""
    np.save(folder / "x.npy", x)
    bitfold(tool, "run", str(path), "--input", str(folder / "x.npy"), "--output", str(folder / "y.npz"))
    name = session.get_outputs()[0].name
    ours = np.load(folder / "y.npz")[name]
    theirs = session.run([name], {session.get_inputs()[0].name: x})[0]
    noise = float(((ours - theirs) ** 2).sum())
    return float("inf") if noise == 0 else 10 * np.log10(float((theirs**2).sum()) / noise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL")
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    print(f"ONNX Runtime {onnxruntime.__version__}, one thread, batch 1, microseconds (median of {arguments.rounds} rounds)")
    print(f"{'model':<20} {'float ours':>10} {'ORT':>9} {'ratio':>6} {'int8 ours':>10} {'ORT':>9} {'ratio':>6} {'agree':>8}")
    for model in arguments.models:
        calibration, flags = MODELS[model].calibration, MODELS[model].flags()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            float_path, int8_path = arguments.data / "models" / f"{model}.onnx", folder / "int8.onnx"
            bitfold(arguments.tool, "quantize", str(float_path), "--calibrate", str(arguments.data / "data" / calibration), *flags,
                    "-o", str(int8_path))
            x = np.load(arguments.data / "data" / "golden" / f"{model}.npz")["input"][:1]
            theirs = {path: onnxruntime_session(path) for path in (float_path, int8_path)}
            agreement = outputs_agree(arguments.tool, int8_path, onnxruntime_session(int8_path, exact=True), x, folder)
            times: dict = {}
            for _ in range(arguments.rounds):
                for path in (float_path, int8_path):
                    ours = bitfold(arguments.tool, "bench", str(path), "--threads", "1", "--min-time", str(SECONDS))
                    times.setdefault(("ours", path), []).append(ours["median_us"])
                    feed = {theirs[path].get_inputs()[0].name: x}
                    times.setdefault(("ort", path), []).append(median_us(theirs[path], feed))
            t = {key: float(np.median(values)) for key, values in times.items()}
            row = [t["ours", float_path], t["ort", float_path], t["ort", float_path] / t["ours", float_path],
                   t["ours", int8_path], t["ort", int8_path], t["ort", int8_path] / t["ours", int8_path]]
            print(f"{model:<20} {row[0]:>10.1f} {row[1]:>9.1f} {row[2]:>5.2f}x {row[3]:>10.1f} {row[4]:>9.1f} {row[5]:>5.2f}x "
                  f"{agreement:>5.1f} dB", flush=True)


if __name__ == "__main__":
    main()
