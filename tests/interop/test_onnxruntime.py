"""Bitfold's files in ONNX Runtime, and ONNX Runtime's files in Bitfold.

Run by pytest. BITFOLD_TOOL is the `bitfold` program, BITFOLD_DATA the folder of models and data.
"""

import collections
import gzip
import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = pathlib.Path(os.environ.get("BITFOLD_TOOL", ROOT / "build" / "bitfold"))
DATA = pathlib.Path(os.environ.get("BITFOLD_DATA", ROOT.parent / "shared"))
IMAGE_COUNT = 400
CALIBRATION_COUNT = 64
LEAST_AGREEMENT = 0.995

pytestmark = pytest.mark.skipif(not (DATA / "models").exists(), reason=f"needs the models and data in {DATA}")


def normalized(images, mean, std):
    """uint8 [n,h,w,3] -> float32 [n,3,h,w]."""
    x = (images.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2).astype(np.float32))


def mnist(part, count):
    path = sorted((DATA / "data/mnist" / part).glob("*images*"))[0]
    raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    images = np.frombuffer(raw[16:], np.uint8).reshape(-1, 28, 28, 1)[:count]
    return normalized(np.repeat(images, 3, axis=3), [0.1307] * 3, [0.3081] * 3)


def cifar(part, count):
    images = np.load(DATA / "data/cifar10" / f"{part}.npz")["x"][:count]
    return normalized(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def imagenet(part, count):
    """RGB / 255, the centre 224 x 224 of each photograph."""
    files = [line.split()[0] for line in (DATA / "data/imagenet" / part / "labels.txt").read_text().splitlines()]
    images = []
    for file in files[:count]:
        image = Image.open(DATA / "data/imagenet" / part / file).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        images.append(np.asarray(image.crop((left, top, left + 224, top + 224))))
    return normalized(np.stack(images), [0.0] * 3, [1.0] * 3)


def golden(name, count):
    """The golden input of a model, slightly shifted and scaled to make more images."""
    x = np.load(DATA / "data/golden" / f"{name}.npz")["input"].astype(np.float32)
    return np.concatenate([np.roll(x, 3 * i, axis=3) * np.float32(1 - 0.01 * i) for i in range(-(-count // len(x)))])[:count]


MODELS = {
    "lenet": lambda: (mnist("calib", CALIBRATION_COUNT), mnist("test", IMAGE_COUNT)),
    "resnet20-cifar10": lambda: (cifar("calib", CALIBRATION_COUNT), cifar("val", IMAGE_COUNT)),
    "darknet-tiny": lambda: (imagenet("calib", CALIBRATION_COUNT), imagenet("val", IMAGE_COUNT)),
    "vww-mobilenetv1": lambda: (golden("vww-mobilenetv1", 16), golden("vww-mobilenetv1", 64)),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    """A model with its calibration and test images, and our quantized file of it."""
    folder = tmp_path_factory.mktemp(request.param)
    calibration, images = MODELS[request.param]()
    np.save(folder / "calibration.npy", calibration)
    np.save(folder / "images.npy", images)
    model = DATA / "models" / f"{request.param}.onnx"
    # With the grids that ONNX Runtime can fuse.
    bitfold("quantize", model, "--calibrate", folder / "calibration.npy", "--target", "any", "-o", folder / "ours.onnx")
    return collections.namedtuple("Case", "folder model calibration images")(folder, model, calibration, images)


def bitfold(*arguments):
    done = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_bitfold(model, case):
    output = case.folder / "outputs.npz"
    bitfold("run", model, "--input", case.folder / "images.npy", "--output", output)
    arrays = np.load(output)
    return arrays[arrays.files[0]]


def session(model, optimized=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without VNNI, ONNX Runtime adds pairs of products in 16 bits, which saturate. This option requests exact sums; with
    # VNNI it has no effect.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run_onnxruntime(model, images):
    runner = session(model)
    return runner.run(None, {runner.get_inputs()[0].name: images})[0]


def agreement(a, b):
    return np.mean(a.argmax(axis=-1) == b.argmax(axis=-1))


def test_our_file_gives_the_same_classes_in_onnxruntime(case):
    ours = run_bitfold(case.folder / "ours.onnx", case)
    theirs = run_onnxruntime(case.folder / "ours.onnx", case.images)
    assert agreement(ours, theirs) >= LEAST_AGREEMENT


def test_layers_that_round_after_a_leaky_relu_agree_with_onnxruntime(case):
    if case.model.stem != "darknet-tiny":
        pytest.skip("no LeakyRelu")
    bitfold("quantize", case.model, "--calibrate", case.folder / "calibration.npy", "-o", case.folder / "bitfold.onnx")
    ours = run_bitfold(case.folder / "bitfold.onnx", case)
    theirs = run_onnxruntime(case.folder / "bitfold.onnx", case.images)
    # Float sums round differently, which changes codes next to a tie; quantization itself leaves 27 dB.
    assert 10 * np.log10(np.sum(ours**2) / np.sum((ours - theirs) ** 2)) > 37


@pytest.mark.parametrize("bits", [4, 7])
def test_onnxruntime_loads_signed_activations_of_fewer_bits(case, bits):
    if case.model.stem not in ("lenet", "resnet20-cifar10"):
        pytest.skip("a max pool and a slice are enough")
    narrow = case.folder / "narrow.onnx"
    bitfold("quantize", case.model, "--calibrate", case.folder / "calibration.npy", "-o", narrow,
            "--activation-scheme", "symmetric", "--activation-bits", bits)
    session(narrow)


def test_our_file_is_a_valid_model(case):
    onnx.checker.check_model(str(case.folder / "ours.onnx"), full_check=True)


def test_onnxruntime_runs_every_layer_of_our_file_in_integers(case):
    optimized = case.folder / "optimized.onnx"
    session(case.folder / "ours.onnx", optimized)
    nodes = onnx.load(optimized).graph.node
    floats = [node.name for node in nodes if node.op_type in ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul")]
    assert floats == []
    assert any(node.op_type == "QLinearConv" for node in nodes)


class Images(CalibrationDataReader):
    def __init__(self, name, images):
        self.rows = iter([{name: images}])

    def get_next(self):
        return next(self.rows, None)


@pytest.mark.parametrize("activation", [QuantType.QUInt8, QuantType.QInt8], ids=["u8", "s8"])
@pytest.mark.parametrize("per_channel", [True, False], ids=["per_channel", "per_tensor"])
def test_a_file_quantized_by_onnxruntime_gives_the_same_classes_here(case, per_channel, activation):
    # Folded first, as ONNX Runtime recommends: its quantizer does not fold BatchNormalization.
    folded = case.folder / "folded.onnx"
    bitfold("fold", case.model, "-o", folded)
    theirs = case.folder / "theirs.onnx"
    quantize_static(
        folded,
        theirs,
        Images("input", case.calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=activation,
        weight_type=QuantType.QInt8,
    )
    ours = run_bitfold(theirs, case)
    assert agreement(ours, run_onnxruntime(theirs, case.images)) >= LEAST_AGREEMENT
