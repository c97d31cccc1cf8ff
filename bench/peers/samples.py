"""The networks of the comparisons, and their samples as preprocessed arrays, so that every tool gets identical inputs."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Model:
    calibration: str  # below data/
    evaluation: str
    size: tuple[int, int] | None = None  # width, height that images are resized to
    crop: int | None = None  # pixels per side
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    has_classes: bool = True
    has_labels: bool = True

    def flags(self) -> list[str]:
        """The corresponding flags of Bitfold, which reads the data itself."""
        size = ["--resize", f"{self.size[0]}x{self.size[1]}"] if self.size else []
        crop = ["--crop", str(self.crop)] if self.crop else []
        scale = [] if self.scale == 1 / 255 else ["--scale", str(self.scale)]
        mean, std = (",".join(map(str, numbers)) for numbers in (self.mean, self.std))
        return [*size, *crop, *scale, "--mean", mean, "--std", std]


CIFAR10 = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
MNIST = {"mean": (0.1307,), "std": (0.3081,)}
MODELS = {
    "resnet20-cifar10": Model("cifar10/calib.npz", "cifar10/val.npz", **CIFAR10),
    "darknet-tiny": Model("imagenet/calib", "imagenet/val", crop=224),
    "vww-mobilenetv1": Model("imagenet/calib", "imagenet/val", size=(96, 96), has_labels=False),
    "ultraface-rfb-320": Model("faces", "faces", size=(320, 240), scale=1, mean=(127,), std=(128,), has_classes=False,
                               has_labels=False),
    "lenet-bn": Model("mnist/calib", "mnist/test", **MNIST),
    "lenet": Model("mnist/calib", "mnist/test", **MNIST),
}
# Written by bench/peers/pretrained.py. The labels of the images do not follow its order of classes.
PRETRAINED = {"efficientnet-lite0": Model("imagenet/calib", "imagenet/val", crop=224, mean=(127 / 255,), std=(128 / 255,), has_labels=False)}
# For speed only: the accuracy of so small a network is meaningless.
BLOCKS = {"conv-bn-relu": Model("cifar10/calib.npz", "cifar10/val.npz", mean=(0.5,), std=(0.25,), has_classes=False, has_labels=False)}


def read_idx(folder: Path, kind: str) -> np.ndarray:
    (path,) = folder.glob(f"*{kind}*")
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(np.frombuffer(data, ">u4", rank, 4))


def read_image(path: Path, model: Model) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    if model.size:
        image = image.resize(model.size, Image.Resampling.BILINEAR)
    if model.crop:
        left, top = (image.width - model.crop) // 2, (image.height - model.crop) // 2
        image = image.crop((left, top, left + model.crop, top + model.crop))
    return np.asarray(image)


def read_folder(folder: Path, model: Model, limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    list_path = folder / "labels.txt"
    if list_path.exists():
        lines = [line.split() for line in list_path.read_text().splitlines() if line][:limit]
        names, labels = [name for name, _ in lines], np.array([int(label) for _, label in lines])
    else:
        names, labels = sorted(path.name for path in folder.glob("*.jpg"))[:limit], None
    return np.stack([read_image(folder / name, model) for name in names]), labels


def load(data: Path, part: str, model: Model, limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    """float32 [samples, 3, height, width] and the class of each sample, if there are classes."""
    path = data / part
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            pixels, labels = arrays["x"][:limit], arrays["y"][:limit]
    elif any(path.glob("*idx3*")):
        pixels, labels = read_idx(path, "idx3")[:limit, ..., None].repeat(3, axis=3), read_idx(path, "idx1")[:limit]
    else:
        pixels, labels = read_folder(path, model, limit)
    x = (pixels * np.float64(model.scale) - np.array(model.mean)) / np.array(model.std)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32), labels if model.has_labels else None
