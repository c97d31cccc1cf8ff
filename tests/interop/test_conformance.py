"""ONNX's conformance suite: no wrong result, no crash, no timeout, and at least as many cases as ONNX Runtime passes.

Run by pytest. BITFOLD_TOOL is the `bitfold` program.
"""

import os
import pathlib

import conformance
import pytest

TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", conformance.ROOT / "build" / "bitfold"))


@pytest.fixture(scope="module")
def results():
    return conformance.judge_all(TOOL)


@pytest.mark.parametrize("mode", ["run", "simulate", "fold"])
def test_no_case_is_wrong(results, mode):
    bad = {name: result[mode] for name, result in results.items()
           if result[mode][0] in ("wrong", "crashed", "timeout")}
    # A file whose original ONNX Runtime computes differently from the standard says nothing about the folded one.
    if mode == "fold":
        bad = {name: why for name, why in bad.items() if results[name]["peer"][0] == "passed"}
    assert not bad


def test_every_folded_file_runs_where_the_original_does(results):
    # Operators of training are refused by name, before a file is written.
    broken = {name: result["fold"] for name, result in results.items()
              if result["peer"][0] == "passed" and result["fold"][0] != "passed"
              and not result["fold"][1].startswith("bitfold:")}
    assert not broken


def test_at_least_as_many_cases_pass_as_in_onnxruntime(results):
    passed = {mode: conformance.counts(results, mode)["passed"] for mode in ("run", "peer")}
    assert passed["run"] >= passed["peer"], passed
