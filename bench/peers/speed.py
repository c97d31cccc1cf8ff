#!/usr/bin/env python3
"""Bitfold against ONNX Runtime on the same files, in the same run: batch 1, medians and ratios.

    .venv/bin/python bench/peers/speed.py [--tool build/bitfold] [--data ../shared] [--rounds 5] [MODEL ...]
    build/bench/bench_networks FOLDER && .venv/bin/python bench/peers/speed.py --networks FOLDER [--threads 2]

Each model is quantized by Bitfold; all programs then run the float file and the very same int8 file, in turn, ROUNDS times;
the table holds the median over rounds of each round's median. Before it is timed, ONNX Runtime's output on the int8 file is
compared with Bitfold's. On CPUs without VNNI that comparison asks ONNX Runtime for exact sums, which it is not timed with: its
default there is faster, and saturates. OpenVINO takes part where it is installed (pip install openvino).
"""

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from samples import MODELS

try:
    import openvino
except ImportError:
    openvino = None

NAMES = [name for name in MODELS if name != "lenet"]  # whose speed README.md has
SECONDS = 0.7  # of one round of one program


def bitfold(tool: str, *arguments: str) -> dict:
    done = subprocess.run([tool, *arguments, "--json", "-"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def onnxruntime_session(path: Path, threads: int, exact: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def openvino_request(path: Path, threads: int):
    core = openvino.Core()
    return core.compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()


def median_us(run) -> float:
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < SECONDS or len(times) < 20:
        start = time.perf_counter()
        run()
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


@dataclass
class Case:
    name: str
    float_path: Path
    calibration: list[str]  # for bitfold quantize
    x: np.ndarray


def shared_case(name: str, data: Path) -> Case:
    model = MODELS[name]
    x = np.load(data / "data" / "golden" / f"{name}.npz")["input"][:1]
    return Case(name, data / "models" / f"{name}.onnx", ["--calibrate", str(data / "data" / model.calibration), *model.flags()], x)


def built_cases(folder: Path) -> list[Case]:
    """What bench_networks wrote."""
    cases = []
    for path in sorted(folder.glob("*.onnx")):
        samples = path.with_suffix(".npz")
        cases.append(Case(path.stem, path, ["--calibrate", str(samples)], np.load(samples)["x"][:1]))
    return cases


def measure(case: Case, tool: str, rounds: int, threads: int) -> tuple[dict, float]:
    """Medians in microseconds by (program, "float" or "int8"), and how well the outputs of the int8 file agree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {"float": case.float_path, "int8": folder / "int8.onnx"}
        bitfold(tool, "quantize", str(case.float_path), *case.calibration, "-o", str(paths["int8"]))
        agreement = outputs_agree(tool, paths["int8"], onnxruntime_session(paths["int8"], threads, exact=True), case.x, folder)
        programs = {}
        for kind, path in paths.items():
            session = onnxruntime_session(path, threads)
            feed = {session.get_inputs()[0].name: case.x}
            programs["ORT", kind] = lambda session=session, feed=feed: session.run(None, feed)
            if openvino is not None:
                request = openvino_request(path, threads)
                programs["OpenVINO", kind] = lambda request=request: request.infer([case.x])
        times: dict = {}
        for _ in range(rounds):
            for kind, path in paths.items():
                ours = bitfold(tool, "bench", str(path), "--threads", str(threads), "--min-time", str(SECONDS))
                times.setdefault(("ours", kind), []).append(ours["median_us"])
            for key, run in programs.items():
                times.setdefault(key, []).append(median_us(run))
        return {key: float(np.median(values)) for key, values in times.items()}, agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL")
    parser.add_argument("--networks", type=Path, metavar="FOLDER", help="what bench_networks wrote, instead of the shared models")
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cases = built_cases(arguments.networks) if arguments.networks else [shared_case(m, arguments.data) for m in arguments.models]

    peers = {"ORT": f"ONNX Runtime {onnxruntime.__version__}"}
    if openvino is not None:
        peers["OpenVINO"] = f"OpenVINO {openvino.__version__.split('-')[0]}"
    print(f"{', '.join(peers.values())}; {arguments.threads} thread(s), batch 1, microseconds (median of {arguments.rounds} rounds)")
    columns = "".join(f" {peer:>9} {'ratio':>6}" for peer in peers)
    print(f"{'model':<20} {'float ours':>10}{columns} {'int8 ours':>10}{columns} {'agree':>8}")
    for case in cases:
        t, agreement = measure(case, arguments.tool, arguments.rounds, arguments.threads)
        row = f"{case.name:<20}"
        for kind in ("float", "int8"):
            ours = t["ours", kind]
            row += f" {ours:>10.1f}" + "".join(f" {t[peer, kind]:>9.1f} {t[peer, kind] / ours:>5.2f}x" for peer in peers)
        print(f"{row} {agreement:>5.1f} dB", flush=True)


if __name__ == "__main__":
    main()
