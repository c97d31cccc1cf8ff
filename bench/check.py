#!/usr/bin/env python3
"""Fails if a kernel has become slower than its baseline in bench/baselines.

    ./dev bench-check [--isa LEVEL ...] [--tolerance 0.10]
    ./dev bench-check --update [--isa LEVEL ...]

A baseline contains ratios, not times: the time of each kernel benchmark divided by that of a copy of 64 MiB (limit/copy), and by
that of a fixed number of products in registers with the fastest unit of its instruction set (limit/product/LEVEL), all measured in
one run. The clock and the memory of a machine affect these limits as they affect the kernels, so one baseline serves every CPU of
its level. A kernel counts as slower only if both ratios have grown: a kernel bound by memory must not fail on a machine where only
products are faster, or vice versa.

Other work on the machine only adds time. So benchmarks run several times in random order and the least processor time counts.
Benchmarks that seem slower are measured again, up to ROUNDS times, before they fail. The placement of memory differs between
processes, so every round is a separate process.

Exit status: 0 nothing is slower; 1 a kernel is slower, or a benchmark of the baseline no longer exists; 2 nothing was measured.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "bench" / "baselines"
LEVELS = ("portable", "avx2", "avx512vnni", "amx")
COPY, PRODUCT = "limit/copy", "limit/product/"
ROUNDS, UPDATE_ROUNDS = 10, 4
REPETITIONS = 5  # per round
SECONDS = 0.02  # per repetition

Times = dict[str, float]  # benchmark -> least seconds


def pattern(names: list[str]) -> str:
    """A regular expression that is valid in every dialect: special characters are replaced by dots."""
    return "^(" + "|".join(re.sub(r"[^\w/ -]", ".", name) for name in names) + ")$"


def run(tool: Path, expression: str, repetitions: int, times: Times) -> None:
    """Runs the benchmarks that match and keeps their least times."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [str(tool), f"--benchmark_filter={expression}", f"--benchmark_repetitions={repetitions}",
                   f"--benchmark_min_time={SECONDS}", "--benchmark_enable_random_interleaving=true",
                   f"--benchmark_out={file.name}", "--benchmark_out_format=json"]
        # Every level has its own benchmarks; a cap would hide some of them.
        environment = {key: value for key, value in os.environ.items() if key != "BITFOLD_ISA"}
        environment["BITFOLD_BENCH_PLAIN"] = "1"
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}:\n{done.stderr}")
        results = json.load(file)["benchmarks"]
    for result in results:
        if result.get("error_occurred"):
            sys.exit(f"{result['run_name']}: {result['error_message']}")
        if result["run_type"] != "iteration":
            continue
        seconds = result["cpu_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[result["time_unit"]]
        name = result["run_name"]
        times[name] = min(times.get(name, seconds), seconds)


def all_of(tool: Path) -> list[str]:
    listed = subprocess.run([str(tool), "--benchmark_list_tests=true"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def level_of(name: str) -> str:
    return name.split("/")[1]


def ratios(name: str, times: Times) -> dict[str, float]:
    return {"to_copy": times[name] / times[COPY], "to_product": times[name] / times[PRODUCT + level_of(name)]}


def slowness(name: str, times: Times, baseline: dict) -> float:
    """The time relative to the baseline, by the more favourable of the two ratios."""
    now = ratios(name, times)
    return min(now[key] / baseline[name][key] for key in now)


def measure(tool: Path, names: list[str], levels: list[str], repetitions: int, times: Times) -> None:
    limits = [COPY, *(PRODUCT + level for level in levels)]
    run(tool, pattern(names + limits), repetitions, times)
    run(tool, pattern(limits), 4 * repetitions, times)  # all other times are divided by these


def describe(name: str, times: Times, baseline: dict) -> str:
    now, then = ratios(name, times), baseline[name]
    parts = ", ".join(f"{now[key]:.4g} {key.replace('to_', 'of a ')} (baseline {then[key]:.4g})" for key in now)
    return f"{name}: {100 * (slowness(name, times, baseline) - 1):+.1f} %: {times[name] * 1e6:.1f} us, {parts}"


def load(level: str) -> dict:
    path = BASELINES / f"{level}.json"
    return json.loads(path.read_text())["benchmarks"] if path.exists() else {}


def cpu_name() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else "unknown"


def update(names: list[str], levels: list[str], times: Times) -> None:
    for level in levels:
        entries = {name: {key: float(f"{value:.4g}") for key, value in ratios(name, times).items()}
                   for name in names if level_of(name) == level}
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items()))
        path = BASELINES / f"{level}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(f'{{"cpu": {json.dumps(cpu_name())},\n "benchmarks": {{\n{lines}\n}}}}\n')
        temporary.replace(path)
        print(f"{path.relative_to(ROOT)}: {len(entries)} benchmarks")


def compare(tool: Path, levels: list[str], baseline: dict, times: Times, tolerance: float) -> int:
    gone = sorted(baseline.keys() - times.keys())
    known = sorted(baseline.keys() & times.keys())
    too_slow = lambda: [name for name in known if slowness(name, times, baseline) > 1 + tolerance]
    for round_number in range(2, ROUNDS + 1):
        if not (suspects := too_slow()):
            break
        print(f"round {round_number}: {len(suspects)} of {len(known)} seem slower; measuring them again", flush=True)
        time.sleep(min(20, 2 ** (round_number - 2)))  # other work may be temporary
        measure(tool, suspects, levels, 2 * REPETITIONS, times)
    failed = too_slow()
    for name in failed:
        print("SLOWER " + describe(name, times, baseline))
    for name in gone:
        print(f"GONE {name}: in the baseline but not among the benchmarks (--update removes it)")
    new = [name for name in times if name not in baseline and not name.startswith("limit/")]
    if new:
        print(f"{len(new)} benchmarks have no baseline yet (--update adds them): {', '.join(sorted(new)[:3])} ...")
    if known:
        worst = max(known, key=lambda name: slowness(name, times, baseline))
        print(f"{len(known)} kernel benchmarks, {len(failed)} more than {100 * tolerance:.0f} % slower. "
              f"The slowest beside its baseline: {describe(worst, times, baseline)}")
    return 1 if failed or gone else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, default=ROOT / "build" / "src" / "kernel_bench")
    parser.add_argument("--isa", nargs="+", choices=LEVELS, metavar="LEVEL", help=f"of {', '.join(LEVELS)}; default: all that "
                        "this CPU has but portable, which is slow whatever happens")
    parser.add_argument("--tolerance", type=float, default=0.10, help="fraction by which a kernel may be slower (default: 0.10)")
    parser.add_argument("--update", action="store_true", help="measure and write the baselines")
    arguments = parser.parse_args()

    names = [name for name in all_of(arguments.tool) if not name.startswith("limit/")]
    present = [level for level in LEVELS if any(level_of(name) == level for name in names)]
    levels = [level for level in arguments.isa or present[1:] or present if level in present]
    names = [name for name in names if level_of(name) in levels]
    if not names:
        print("this CPU supports none of the requested levels")
        return 2
    times: Times = {}
    for _ in range(UPDATE_ROUNDS if arguments.update else 1):
        measure(arguments.tool, names, levels, REPETITIONS, times)
    if arguments.update:
        update(names, levels, times)
        return 0
    baseline = {name: entry for level in levels for name, entry in load(level).items()}
    if not baseline:
        print(f"no baseline for {', '.join(levels)}: write one with --update")
        return 2
    return compare(arguments.tool, levels, baseline, times, arguments.tolerance)


if __name__ == "__main__":
    sys.exit(main())
