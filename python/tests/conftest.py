import os
from pathlib import Path

import numpy as np
import pytest

DATA = Path(os.environ.get("BITFOLD_DATA", Path(__file__).parents[3] / "shared"))

if not (DATA / "models").is_dir():
    pytest.skip(f"needs the models and data in {DATA}; set BITFOLD_DATA", allow_module_level=True)


@pytest.fixture(scope="session")
def lenet() -> str:
    return str(DATA / "models" / "lenet.onnx")


@pytest.fixture(scope="session")
def resnet() -> str:
    return str(DATA / "models" / "resnet20-cifar10.onnx")


@pytest.fixture(scope="session")
def real() -> Path:
    """A folder of networks with their samples."""
    return DATA / "real"


@pytest.fixture(scope="session")
def cifar() -> tuple[np.ndarray, np.ndarray]:
    """400 images, normalized as ResNet-20 expects, and their classes."""
    with np.load(DATA / "data" / "cifar10" / "val.npz") as file:
        pixels, labels = file["x"][:400], file["y"][:400].astype(np.int64)
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return ((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy(), labels


@pytest.fixture()
def digits() -> np.ndarray:
    return np.random.default_rng(1).random((48, 3, 28, 28), dtype=np.float32)
