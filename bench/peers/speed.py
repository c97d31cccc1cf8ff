#!/usr/bin/env python3
"""Speed of Bitfold, ONNX Runtime and, if installed, OpenVINO on the same files in the same run: medians and ratios.

    .venv/bin/python bench/peers/speed.py [--tool build/bitfold] [--data ../shared] [--networks FOLDER] [--threads 1]
                                          [--batch 1] [--rounds 5] [--isa avx2|avx512vnni] [MODEL ...]

Bitfold quantizes each model with --target any. All programs then run the float file and the same int8 file alternately, ROUNDS
times. The table contains the median over rounds of each round's median, and the time of the others divided by Bitfold's. Before
timing, their outputs on the int8 file are compared with Bitfold's. On CPUs without VNNI, ONNX Runtime is set to exact sums for that
comparison but not for timing: its default there is faster and saturates. OpenVINO is set to compute float layers in float32, as the
others do; by default it uses bfloat16 if the CPU supports it.

FOLDER was written by `build/bench/networks FOLDER`; those networks are measured as well. --isa limits the instruction set of
Bitfold and OpenVINO; ONNX Runtime has no such option and uses what the CPU supports (up to VNNI: version 1.32 has no AMX).
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import onnxruntime

from samples import BLOCKS, MODELS

try:
    import openvino
except ImportError:
    openvino = None

NAMES = [name for name in MODELS if name != "lenet"]  # the networks in README.md
SECONDS = 0.7  # per round and program
ONEDNN_ISA = {"avx2": "AVX2", "avx512vnni": "AVX512_CORE_VNNI"}  # the names used by OpenVINO's oneDNN

Run = Callable[[np.ndarray], np.ndarray]  # from the first input to the first output


@dataclass
class Files:
    """A float file, its int8 file, and an input of one batch."""

    float32: Path
    int8: Path
    x: np.ndarray


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


def onnxruntime_run(session: onnxruntime.InferenceSession) -> Run:
    source = session.get_inputs()[0].name
    return lambda x: session.run(None, {source: x})[0]


def openvino_run(path: Path, threads: int, shape: tuple[int, ...]) -> Run:
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({model.input(0): list(shape)})
    request = core.compile_model(model, "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32",
    }).create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer([x], share_inputs=True, share_outputs=True)
        return request.get_output_tensor(0).data

    return run


def bitfold_output(tool: str, path: Path, x: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "x.npy", x)
    bitfold(tool, "run", str(path), "--input", str(folder / "x.npy"), "--output", str(folder / "y.npz"))
    with np.load(folder / "y.npz") as arrays:
        return arrays[arrays.files[0]]


def sqnr_db(expected: np.ndarray, got: np.ndarray) -> float:
    noise = float(((expected - got) ** 2).sum())
    return float("inf") if noise == 0 else 10 * np.log10(float((expected**2).sum()) / noise)


def median_us(run: Run, x: np.ndarray) -> float:
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < SECONDS or len(times) < 20:
        start = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def is_batchable(path: Path, batch: int) -> bool:
    size = onnxruntime_session(path, 1).get_inputs()[0].shape[0]
    return size == batch or not isinstance(size, int)


def prepare(name: str, arguments: argparse.Namespace, folder: Path) -> Files:
    if arguments.networks and (arguments.networks / f"{name}.npy").exists():
        files = Files(arguments.networks / f"{name}.onnx", arguments.networks / f"{name}.int8.onnx",
                      np.load(arguments.networks / f"{name}.npy")[:1])
    else:
        float_path, data = arguments.data / "models" / f"{name}.onnx", arguments.data / "data"
        files = Files(float_path, folder / "int8.onnx", np.load(data / "golden" / f"{name}.npz")["input"][:1])
        model = (MODELS | BLOCKS)[name]
        # With grids before LeakyRelus, which the others need to run them in integers.
        bitfold(arguments.tool, "quantize", str(float_path), "--calibrate", str(data / model.calibration), *model.flags(),
                 "--target", "any", "-o", str(files.int8))
    files.x = np.ascontiguousarray(files.x.repeat(arguments.batch, axis=0))
    return files


def measure(files: Files, arguments: argparse.Namespace, folder: Path) -> tuple[dict, list[float]]:
    """Median times by (program, path), and the SQNR of each peer's int8 output against ours."""
    paths, threads = (files.float32, files.int8), arguments.threads
    peers = {("ort", path): onnxruntime_run(onnxruntime_session(path, threads)) for path in paths}
    exact = {"ort": onnxruntime_run(onnxruntime_session(files.int8, threads, exact=True))}
    if openvino:
        peers |= {("ov", path): openvino_run(path, threads, files.x.shape) for path in paths}
        exact["ov"] = peers["ov", files.int8]
    ours = bitfold_output(arguments.tool, files.int8, files.x, folder)
    agreement = [sqnr_db(run(files.x), ours) for run in exact.values()]
    flags = ["--threads", str(threads), "--batch", str(arguments.batch), "--min-time", str(SECONDS)]
    times: dict = {}
    for _ in range(arguments.rounds):
        for path in paths:
            times.setdefault(("ours", path), []).append(bitfold(arguments.tool, "bench", str(path), *flags)["median_us"])
            for (peer, peer_path), run in peers.items():
                if peer_path == path:
                    times.setdefault((peer, path), []).append(median_us(run, files.x))
    return {key: float(np.median(values)) for key, values in times.items()}, agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--data", type=Path, default=Path("../shared"))
    parser.add_argument("--networks", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--isa", choices=ONEDNN_ISA)
    arguments = parser.parse_args()
    if arguments.isa:
        os.environ["BITFOLD_ISA"], os.environ["ONEDNN_MAX_CPU_ISA"] = arguments.isa, ONEDNN_ISA[arguments.isa]
    networks = sorted(path.stem for path in arguments.networks.glob("*.npy")) if arguments.networks else []

    programs = ["ours", "ort", *(["ov"] if openvino else [])]
    versions = f"ONNX Runtime {onnxruntime.__version__} (ort)" + (f", OpenVINO {openvino.__version__} (ov)" if openvino else "")
    print(f"{versions}, threads {arguments.threads}, batch {arguments.batch}"
          f"{f', at most {arguments.isa} (not ort)' if arguments.isa else ''}, microseconds (median of {arguments.rounds} rounds)")
    titles = "".join(f"{title:>10}{'ratio':>8}" if program != "ours" else f"{title:>14}"
                     for kind in ("float", "int8") for program in programs
                     for title in [f"{kind} ours" if program == "ours" else program])
    print(f"{'model':<20}{titles}   int8 agrees, dB: {', '.join(programs[1:])}")
    for model in arguments.models or NAMES + networks:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = prepare(model, arguments, folder)
            if not is_batchable(files.float32, arguments.batch):
                print(f"{model:<20}has a fixed batch")
                continue
            times, agreement = measure(files, arguments, folder)
            cells = ""
            for path in (files.float32, files.int8):
                ours = times["ours", path]
                cells += f"{ours:>14.1f}"
                cells += "".join(f"{times[p, path]:>10.1f}{times[p, path] / ours:>7.2f}x" for p in programs[1:])
            print(f"{model:<20}{cells}   {', '.join(f'{a:.1f}' for a in agreement)}", flush=True)


if __name__ == "__main__":
    main()
