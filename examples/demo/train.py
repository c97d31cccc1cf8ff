#!/usr/bin/env python3
"""Trains the LeNet with BatchNorm that the demo ships (lenet-digits.onnx), on digits drawn by the demo itself.

    pip install jax onnx numpy
    build/examples/demo --write-digits train.npz --count 24000 --seed 1
    python examples/demo/train.py train.npz examples/demo/lenet-digits.onnx

The network is the one of the notebook (3-channel LeNet), with BatchNorm and a narrower first fully connected layer:
    conv 3->20 5x5, BatchNorm, Relu, max pool 2; conv 20->50 5x5, BatchNorm, Relu, max pool 2; fc 800->128, Relu; fc 128->10
Takes about three minutes on two cores.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import helper, numpy_helper

EPOCHS, BATCH, RATE, MOMENTUM = 6, 64, 0.03, 0.9
EPSILON, DECAY = 1e-5, 0.9
MEAN, STD = 0.1307, 0.3081  # MNIST's, so that the same preprocessing serves both


def initial(seed: int) -> tuple[dict, dict]:
    """He-initialized weights, and the running statistics of both BatchNorms."""
    key = iter(jax.random.split(jax.random.PRNGKey(seed), 8))
    shapes = {"conv1": (20, 3, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (128, 800), "fc2": (10, 128)}
    weights = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:]))
        weights[f"{name}.weight"] = jax.random.normal(next(key), shape) * np.sqrt(2 / fan_in)
        weights[f"{name}.bias"] = jnp.zeros(shape[0])
    statistics = {}
    for name, channels in (("bn1", 20), ("bn2", 50)):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = jnp.ones(channels), jnp.zeros(channels)
        statistics[f"{name}.running_mean"], statistics[f"{name}.running_var"] = jnp.zeros(channels), jnp.ones(channels)
    return weights, statistics


def forward(weights: dict, statistics: dict, x: jax.Array, training: bool) -> tuple[jax.Array, dict]:
    updated = {}
    for i in ("1", "2"):
        x = jax.lax.conv_general_dilated(x, weights[f"conv{i}.weight"], (1, 1), "VALID")
        x = x + weights[f"conv{i}.bias"].reshape(1, -1, 1, 1)
        mean, var = statistics[f"bn{i}.running_mean"], statistics[f"bn{i}.running_var"]
        if training:
            batch_mean, batch_var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            updated[f"bn{i}.running_mean"] = DECAY * mean + (1 - DECAY) * batch_mean
            updated[f"bn{i}.running_var"] = DECAY * var + (1 - DECAY) * batch_var
            mean, var = batch_mean, batch_var
        k = weights[f"bn{i}.weight"] / jnp.sqrt(var + EPSILON)
        x = x * k.reshape(1, -1, 1, 1) + (weights[f"bn{i}.bias"] - mean * k).reshape(1, -1, 1, 1)
        x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = jax.nn.relu(x.reshape(x.shape[0], -1) @ weights["fc1.weight"].T + weights["fc1.bias"])
    return x @ weights["fc2.weight"].T + weights["fc2.bias"], updated


def preprocess(images: np.ndarray) -> np.ndarray:
    grey = (images.astype(np.float32) / 255 - MEAN) / STD
    return np.repeat(grey[:, None], 3, axis=1)


def train(images: np.ndarray, labels: np.ndarray) -> dict:
    weights, statistics = initial(seed=0)
    velocity = jax.tree.map(jnp.zeros_like, weights)

    def loss(weights, statistics, x, y):
        logits, updated = forward(weights, statistics, x, training=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), updated

    @jax.jit
    def step(weights, statistics, velocity, rate, x, y):
        (value, updated), gradient = jax.value_and_grad(loss, has_aux=True)(weights, statistics, x, y)
        velocity = jax.tree.map(lambda v, g, w: MOMENTUM * v + g + 1e-4 * w, velocity, gradient, weights)
        return jax.tree.map(lambda w, v: w - rate * v, weights, velocity), updated, velocity, value

    random = np.random.default_rng(0)
    steps = len(images) // BATCH
    for epoch in range(EPOCHS):
        order = random.permutation(len(images))
        total = 0.0
        for i in range(steps):
            rate = RATE * 0.5 * (1 + np.cos(np.pi * (epoch * steps + i) / (EPOCHS * steps)))
            chosen = order[i * BATCH:(i + 1) * BATCH]
            weights, statistics, velocity, value = step(
                weights, statistics, velocity, rate, preprocess(images[chosen]), labels[chosen])
            total += float(value)
        print(f"epoch {epoch + 1}: loss {total / steps:.4f}", flush=True)
    return {**weights, **statistics}


def export(values: dict, path: str) -> None:
    node = helper.make_node
    nodes, x = [], "input"
    for i in ("1", "2"):
        nodes += [
            node("Conv", [x, f"conv{i}.weight", f"conv{i}.bias"], [f"conv{i}"], f"conv{i}", kernel_shape=[5, 5]),
            node("BatchNormalization", [f"conv{i}"] + [f"bn{i}.{n}" for n in ("weight", "bias", "running_mean", "running_var")],
                 [f"bn{i}"], f"bn{i}", epsilon=EPSILON),
            node("Relu", [f"bn{i}"], [f"relu{i}"], f"relu{i}"),
            node("MaxPool", [f"relu{i}"], [f"pool{i}"], f"pool{i}", kernel_shape=[2, 2], strides=[2, 2]),
        ]
        x = f"pool{i}"
    nodes += [
        node("Flatten", [x], ["flat"], "flatten", axis=1),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], "fc1", transB=1),
        node("Relu", ["fc1"], ["relu3"], "relu3"),
        node("Gemm", ["relu3", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1),
    ]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "lenet-digits", [tensor("input", onnx.TensorProto.FLOAT, ["N", 3, 28, 28])],
        [tensor("logits", onnx.TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in sorted(values.items())])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main() -> None:
    data_path, model_path = sys.argv[1:3]
    data = np.load(data_path)
    images, labels = data["x"], data["y"].astype(np.int64)
    held_out = len(images) // 12
    values = train(images[held_out:], labels[held_out:])
    logits, _ = jax.jit(lambda x: forward(values, values, x, training=False))(preprocess(images[:held_out]))
    print(f"held out: {(np.asarray(logits).argmax(1) == labels[:held_out]).mean():.4f} of {held_out}")
    export(values, model_path)


if __name__ == "__main__":
    main()
