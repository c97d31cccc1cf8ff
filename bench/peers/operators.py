#!/usr/bin/env python3
"""Time of single operators in Bitfold and in ONNX Runtime, with sizes as in real networks.

    .venv/bin/python bench/peers/operators.py [--tool build/bitfold] [--threads 1] [--rounds 3] [--at-least 3]
                                              [--table] [NAME ...]

Each case is a network of one operator. Both programs run it alternately, ROUNDS times; a time is the median over rounds of
each round's median. The outputs are compared first. NAME selects the cases whose operator or title contains it. The exit
status is 1 if an operator takes --at-least times as long as in ONNX Runtime, or if outputs differ. --table writes Markdown.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

SECONDS = 0.3  # per round and program
TOLERANCE = 1e-4  # of the largest output
FLOOR_US = 5.0  # added to both times before they are compared: what a call costs
random = np.random.default_rng(1)


def real(*shape: int) -> np.ndarray:
    return random.uniform(-1, 1, shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return random.uniform(0.1, 1, shape).astype(np.float32)


def whole(limit: int, *shape: int) -> np.ndarray:
    return random.integers(0, limit, shape)


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def boolean(*shape: int) -> np.ndarray:
    return random.uniform(size=shape) < 0.5


@dataclass
class Case:
    """One operator. Inputs that are lists are constants of the network; None stands for an optional input that is left out."""

    op: str
    inputs: list[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 18
    domain: str = ""
    title: str = ""

    def arrays(self) -> list[np.ndarray | None]:
        return [x[0] if isinstance(x, list) else x for x in self.inputs]

    def name(self) -> str:
        shapes = " ".join("x".join(map(str, x.shape)) for x in self.arrays() if x is not None and x.ndim and x.size > 8)
        return self.title or f"{self.op} {shapes}"

    def model(self) -> onnx.ModelProto:
        names = ["" if x is None else f"i{k}" for k, x in enumerate(self.arrays())]
        outputs = [f"o{k}" for k in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, domain=self.domain, **self.attributes)
        fed = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
               for n, x in zip(names, self.inputs) if isinstance(x, np.ndarray)]
        constants = [numpy_helper.from_array(x[0], n) for n, x in zip(names, self.inputs) if isinstance(x, list)]
        results = [helper.make_empty_tensor_value_info(n) for n in outputs]
        graph = helper.make_graph([node], "g", fed, results, constants)
        imports = [helper.make_opsetid("", self.opset)] + ([helper.make_opsetid(self.domain, 1)] if self.domain else [])
        model = helper.make_model(graph, opset_imports=imports, ir_version=9)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for result, output in zip(results, session.run(None, self.feeds())):
            result.CopyFrom(helper.make_tensor_value_info(result.name, helper.np_dtype_to_tensor_dtype(output.dtype), output.shape))
        graph = helper.make_graph([node], "g", fed, results, constants)
        return helper.make_model(graph, opset_imports=imports, ir_version=9)

    def feeds(self) -> dict[str, np.ndarray]:
        return {f"i{k}": x for k, x in enumerate(self.inputs) if isinstance(x, np.ndarray)}


def unary(op: str, **attributes: Any) -> Case:
    x = positive(1, 64, 56, 56) if op in ("Log", "Sqrt", "Acosh", "Atanh", "Asin", "Acos", "Reciprocal") else real(1, 64, 56, 56)
    return Case(op, [x + 1 if op == "Acosh" else x], attributes, opset=20 if op == "Gelu" else 18)


def conv(op: str, x: tuple, w: tuple, **attributes: Any) -> Case:
    return Case(op, [real(*x), [real(*w) / 10]], attributes)


def recurrent(op: str, gates: int, steps: int, inputs: int, hidden: int, directions: int = 1) -> Case:
    weights = [[real(directions, gates * hidden, n) / 10] for n in (inputs, hidden)]
    direction = "bidirectional" if directions == 2 else "forward"
    return Case(op, [real(steps, 1, inputs), *weights, [real(directions, 2 * gates * hidden)]],
                {"hidden_size": hidden, "direction": direction}, outputs=2)


def reduction(op: str, axes: tuple, *shape: int) -> Case:
    return Case(op, [positive(*shape), [int64(*axes)]], title=f"{op} {'x'.join(map(str, shape))} axes {axes}")


def normalization(op: str, *shape: int, **attributes: Any) -> Case:
    channels = shape[-1] if op == "LayerNormalization" else shape[1]
    extra = [[real(channels)], [positive(channels)]] if op == "BatchNormalization" else []
    return Case(op, [real(*shape), [positive(channels)], [real(channels)], *extra], attributes)


def resize(mode: str, *scales: float, **attributes: Any) -> Case:
    return Case("Resize", [real(1, 64, 40, 40), None, [np.array([1, 1, *scales], np.float32)]],
                {"mode": mode} | attributes, title=f"Resize {mode} {attributes.get('nearest_mode', '')} 1x64x40x40 {scales}")


def microsoft(op: str, inputs: list, outputs: int = 1, **attributes: Any) -> Case:
    return Case(op, inputs, attributes, outputs=outputs, domain="com.microsoft")


def cases() -> list[Case]:
    image, tokens = (1, 64, 56, 56), (1, 128, 384)
    unaries = ["Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor",
               "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu",
               "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu", "IsNaN", "IsInf"]
    a, b, column = real(*image), positive(*image), positive(1, 64, 1, 1)
    result = [unary(op) for op in unaries]
    result.append(Case("Gelu", [real(*tokens)], {"approximate": "tanh"}, opset=20, title="Gelu tanh 1x128x384"))
    result += [Case(op, [a, b]) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum", "Less", "Equal", "PRelu")]
    result += [Case(op, [a, [column]]) for op in ("Add", "Sub", "Mul", "Div", "Greater", "PRelu")]
    result += [Case(op, [real(*tokens), [positive(384)]]) for op in ("Add", "Mul", "Div")]
    result += [Case(op, [real(1, 56, 56, 10), [positive(10)]]) for op in ("Mul", "PRelu")]
    result += [Case("Add", [real(1, 12, 128, 128), real(1, 1, 1, 128)], title="Add mask 1x12x128x128"),
               Case("Pow", [b, [np.float32(2)]]), Case("Pow", [b, [np.float32(0.5)]], title="Pow 0.5"), Case("Pow", [b, [np.float32(3)]], title="Pow 3"), Case("Pow", [b, a]),
               Case("Mod", [real(*tokens), [np.float32(0.3)]], {"fmod": 1}), Case("Mod", [whole(1000, 128, 384), [int64(7)]]),
               Case("And", [boolean(128, 1024), boolean(128, 1024)]), Case("Not", [boolean(128, 1024)]),
               Case("Where", [boolean(1, 12, 128, 128), real(1, 12, 128, 128), [np.float32(-1e9)]]),
               Case("Where", [boolean(1, 1, 128, 128), real(1, 12, 128, 128), [np.float32(-1e9)]], title="Where spread mask"),
               Case("Clip", [a, [np.float32(0)], [np.float32(6)]]), Case("Add", [whole(9, 128, 384), whole(9, 128, 384)], title="Add int64"),
               Case("Cast", [a], {"to": onnx.TensorProto.FLOAT16}, title="Cast float32 to float16"),
               Case("Cast", [a.astype(np.float16)], {"to": onnx.TensorProto.FLOAT}, title="Cast float16 to float32"),
               Case("Cast", [whole(255, *image).astype(np.uint8)], {"to": onnx.TensorProto.FLOAT}, title="Cast uint8 to float32"),
               Case("Cast", [whole(255, *tokens)], {"to": onnx.TensorProto.FLOAT}, title="Cast int64 to float32"),
               Case("Cast", [a], {"to": onnx.TensorProto.BOOL}, title="Cast float32 to bool"),
               Case("Cast", [a], {"to": onnx.TensorProto.INT64}, title="Cast float32 to int64")]
    result += [conv("Conv", (1, 64, 56, 56), (64, 64, 3, 3), pads=[1] * 4), conv("Conv", (1, 64, 56, 56), (128, 64, 1, 1)),
               conv("Conv", (1, 64, 56, 56), (64, 1, 3, 3), pads=[1] * 4, group=64),
               conv("Conv", (1, 64, 56, 56), (64, 1, 7, 7), pads=[3] * 4, group=64),
               conv("Conv", (1, 64, 56, 56), (64, 8, 3, 3), pads=[1] * 4, group=8),
               conv("Conv", (1, 64, 56, 56), (64, 64, 3, 3), pads=[2] * 4, dilations=[2, 2]),
               conv("Conv", (1, 80, 400), (256, 80, 5), pads=[2, 2]), conv("Conv", (1, 256, 400), (256, 1, 31), pads=[15, 15], group=256),
               conv("Conv", (1, 1, 16000), (258, 1, 256), strides=[128]), conv("Conv", (1, 16, 8, 28, 28), (16, 16, 3, 3, 3), pads=[1] * 6),
               conv("ConvTranspose", (1, 64, 40, 40), (64, 32, 2, 2), strides=[2, 2]),
               conv("ConvTranspose", (1, 64, 40, 40), (64, 32, 4, 4), strides=[2, 2], pads=[1] * 4),
               conv("ConvTranspose", (1, 64, 200), (64, 32, 8), strides=[4], pads=[2, 2]),
               Case("MatMul", [real(*tokens), [real(384, 1536)]]), Case("MatMul", [real(1, 12, 128, 32), real(1, 12, 32, 128)]),
               Case("MatMul", [real(1, 1, 384), [real(384, 1536)]]), Case("MatMul", [real(384, 1), real(1, 384)], title="MatMul outer"),
               Case("Gemm", [real(1, 512), [real(1000, 512)], [real(1000)]], {"transB": 1}),
               Case("Einsum", [real(1, 128, 12, 32), real(1, 128, 12, 32)], {"equation": "bqhd,bkhd->bhqk"}),
               Case("Einsum", [real(1, 12, 128, 128), real(1, 128, 12, 32)], {"equation": "bhqk,bkhd->bqhd"}),
               Case("Einsum", [real(1, 64, 28, 28), real(64, 32)], {"equation": "bchw,cd->bdhw"}),
               Case("Einsum", [real(12, 128, 32)], {"equation": "hij->ij"})]
    result += [recurrent("LSTM", 4, 100, 80, 128), recurrent("LSTM", 4, 100, 80, 128, 2), recurrent("LSTM", 4, 1, 128, 128),
               recurrent("GRU", 3, 100, 80, 128), recurrent("GRU", 3, 1, 128, 128), recurrent("RNN", 1, 100, 80, 128)]
    result += [Case("MaxPool", [a], {"kernel_shape": [3, 3], "strides": [2, 2]}), Case("MaxPool", [a], {"kernel_shape": [5, 5], "pads": [2] * 4}),
               Case("MaxPool", [a], {"kernel_shape": [3, 3], "dilations": [2, 2]}, title="MaxPool dilated"),
               Case("MaxPool", [a], {"kernel_shape": [3, 3], "strides": [2, 2], "dilations": [2, 2], "pads": [2] * 4}, title="MaxPool dilated, stride 2"),
               Case("MaxPool", [a], {"kernel_shape": [2, 2], "strides": [2, 2]}, outputs=2, title="MaxPool with indices"),
               Case("MaxPool", [real(1, 128, 1000)], {"kernel_shape": [2], "strides": [2]}),
               Case("AveragePool", [a], {"kernel_shape": [3, 3], "pads": [1] * 4}), Case("GlobalAveragePool", [a]), Case("GlobalMaxPool", [a]),
               Case("LpPool", [a], {"kernel_shape": [2, 2], "strides": [2, 2]}),
               normalization("BatchNormalization", *image), normalization("InstanceNormalization", *image),
               normalization("LayerNormalization", *tokens), Case("LRN", [a], {"size": 5}),
               Case("GroupNormalization", [a, [positive(32)], [real(32)]], {"num_groups": 32}),
               Case("LpNormalization", [real(*tokens)], {"axis": -1}), Case("MeanVarianceNormalization", [a]),
               Case("Softmax", [real(1, 12, 128, 128)]), Case("Softmax", [a], {"axis": 1}, title="Softmax over channels"),
               Case("Softmax", [real(1, 4, 16, 8400)], {"axis": 2}, title="Softmax over axis 2 of 1x4x16x8400"), Case("Softmax", [real(128, 128, 4)], {"axis": 1}),
               Case("LogSoftmax", [real(128, 1000)]), Case("LogSoftmax", [a], {"axis": 1}, title="LogSoftmax over channels"), Case("Softmax", [real(1, 40, 6625)]), Case("Hardmax", [real(128, 1000)])]
    reductions = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceProd", "ReduceSumSquare",
                  "ReduceLogSumExp", "ReduceLogSum")
    result += [reduction(op, (-1,), *tokens) for op in reductions] + [reduction(op, (2, 3), *image) for op in reductions[:3]]
    result += [reduction(op, (-1,), 4096, 32) for op in reductions[:4]]
    result += [reduction("ReduceMean", (1,), *tokens), reduction("ReduceMin", (0, 1), *image), reduction("ReduceSum", (1, 3), *image), reduction("ReduceMax", (1,), *image), reduction("ReduceSum", (0, 2, 3), *image),
               Case("ArgMax", [real(1, 40, 6625)], {"axis": -1}), Case("ArgMax", [a], {"axis": 1}), Case("ArgMin", [a], {"axis": 1}),
               Case("TopK", [real(1, 8400), [int64(100)]], outputs=2), Case("TopK", [real(128, 1000), [int64(5)]], outputs=2),
               Case("CumSum", [real(1, 16000), [np.int64(1)]]), Case("CumSum", [real(*tokens), [np.int64(1)]]),
               Case("NonZero", [whole(2, 1, 8400).astype(np.float32)]), Case("Unique", [whole(500, 4096)], outputs=1),
               Case("NonMaxSuppression", [np.sort(random.uniform(0, 640, (1, 1000, 2, 2)), axis=2).reshape(1, 1000, 4).astype(np.float32),
                                          positive(1, 8, 1000), [int64(100)], [np.array([0.5], np.float32)], [np.array([0.3], np.float32)]])]
    result += [Case("Transpose", [a], {"perm": [0, 2, 3, 1]}), Case("Transpose", [real(1, 128, 12, 32)], {"perm": [0, 2, 1, 3]}),
               Case("Transpose", [real(1, 12, 128, 32)], {"perm": [0, 1, 3, 2]}), Case("Transpose", [real(384, 1536)]),
               Case("Transpose", [real(4, 8, 16, 8, 16, 3)], {"perm": [0, 5, 1, 3, 2, 4]}),
               Case("Transpose", [real(1, 224, 224, 3)], {"perm": [0, 3, 1, 2]}), Case("Transpose", [whole(255, 1, 3, 224, 224).astype(np.uint8)], {"perm": [0, 2, 3, 1]}),
               Case("Concat", [a, b], {"axis": 1}), Case("Concat", [real(1, 128, 200), real(1, 128, 184)], {"axis": 2}),
               Case("Split", [a, [int64(32, 32)]], {"axis": 1}, outputs=2), Case("Split", [real(1, 128, 1152), [int64(384, 384, 384)]], {"axis": 2}, outputs=3),
               Case("Slice", [a, [int64(0, 0)], [int64(56, 56)], [int64(2, 3)], [int64(2, 2)]], title="Slice every second pixel"),
               Case("Slice", [real(*tokens), [int64(0)], [int64(1)], [int64(1)]], title="Slice first token"),
               Case("Slice", [a, [int64(0)], [int64(32)], [int64(1)]], title="Slice channels"),
               Case("Gather", [[real(30522, 384)], whole(30522, 1, 128)], title="Gather embedding 30522x384"),
               Case("Gather", [real(*image), [int64(*range(0, 56, 2))]], {"axis": 3}), Case("GatherElements", [real(128, 1000), whole(1000, 128, 100)], {"axis": 1}),
               Case("GatherND", [real(1, 128, 384), np.stack([np.zeros(64, np.int64), whole(128, 64)], -1)]),
               Case("ScatterElements", [real(128, 1000), whole(1000, 128, 100), real(128, 100)], {"axis": 1}),
               Case("ScatterND", [real(128, 384), whole(128, 64, 1), real(64, 384)]), Case("OneHot", [whole(100, 1, 512), [int64(100)], [np.array([0, 1], np.float32)]]),
               Case("Gather", [real(*tokens), [int64(5, 3, 1)]], {"axis": 1}), Case("GatherElements", [real(1000, 128), whole(1000, 100, 128)], title="GatherElements axis 0"),
               Case("ScatterElements", [real(1000, 128), whole(1000, 100, 128), real(100, 128)], {"reduction": "add"}, title="ScatterElements add axis 0"),
               Case("ScatterND", [real(128, 384), np.stack([whole(128, 4096), whole(384, 4096)], -1), real(4096)]),
               Case("Compress", [real(*tokens), boolean(128)], {"axis": 1}), Case("CenterCropPad", [a, [int64(64, 40)]], {"axes": [2, 3]}),
               Case("Pad", [a, [int64(0, 0, 1, 1, 0, 0, 1, 1)]]), Case("Pad", [a, [int64(0, 0, 1, 1, 0, 0, 1, 1)]], {"mode": "reflect"}, title="Pad reflect"),
               Case("Pad", [real(1, 16000), [int64(0, 200, 0, 200)]], {"mode": "edge"}, title="Pad edge"), Case("Tile", [real(1, 64, 1, 56), [int64(1, 1, 56, 1)]]),
               Case("Expand", [real(1, 64, 1, 56), [int64(1, 64, 56, 56)]]), Case("Expand", [real(128, 1), [int64(128, 384)]]),
               Case("DepthToSpace", [real(1, 64, 56, 56)], {"blocksize": 2}), Case("SpaceToDepth", [real(1, 16, 112, 112)], {"blocksize": 2}),
               Case("ReverseSequence", [real(100, 8, 128), [whole(100, 8)]]), Case("Trilu", [real(12, 128, 128)], {"upper": 0}, opset=14),
               Case("Range", [np.array(0, np.float32), np.array(4096, np.float32), np.array(1, np.float32)], title="Range 4096"), Case("EyeLike", [real(512, 512)]),
               resize("nearest", 2, 2), resize("nearest", 2, 2, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
               resize("linear", 2, 2), resize("linear", 0.5, 0.5), resize("linear", 1.5, 1.5, coordinate_transformation_mode="align_corners"), resize("cubic", 2, 2),
               Case("Resize", [real(1, 40, 40, 64), None, [np.array([1, 2, 2, 1], np.float32)]], {"mode": "linear"}, title="Resize linear channels last"),
               Case("Resize", [whole(255, 1, 3, 224, 224).astype(np.uint8), None, [np.array([1, 1, 0.5, 0.5], np.float32)]], {"mode": "linear"}, title="Resize linear uint8"),
               Case("Resize", [real(1, 64, 40, 40), None, None, [int64(1, 64, 67, 53)]], {"mode": "nearest"}, title="Resize nearest to 67x53"),
               Case("Resize", [real(1, 3, 224, 224), None, [np.array([1, 1, 0.5, 0.5], np.float32)]], {"mode": "linear", "antialias": 1}, title="Resize linear antialias"),
               Case("GridSample", [real(1, 64, 40, 40), real(1, 40, 40, 2)], title="GridSample 1x64x40x40"),
               Case("GridSample", [real(1, 64, 40, 40), real(1, 40, 40, 2)], {"mode": "bicubic"}, title="GridSample bicubic 1x64x40x40"),
               Case("GridSample", [real(1, 16, 8, 20, 20), real(1, 8, 20, 20, 3)], opset=20, title="GridSample 1x16x8x20x20"),
               Case("AffineGrid", [real(1, 2, 3), [int64(1, 64, 56, 56)]], opset=20, title="AffineGrid 56x56"),
               Case("DeformConv", [real(1, 32, 28, 28), [real(32, 32, 3, 3)], real(1, 18, 28, 28)], {"kernel_shape": [3, 3], "pads": [1] * 4}, opset=19),
               Case("MaxRoiPool", [real(1, 64, 40, 40), np.hstack([np.zeros((50, 1)), np.sort(random.uniform(0, 39, (50, 2, 2)), 1).reshape(50, 4)]).astype(np.float32)],
                    {"pooled_shape": [7, 7]}, title="MaxRoiPool 50 boxes of 1x64x40x40"),
               Case("Col2Im", [real(1, 64 * 9, 784), [int64(28, 28)], [int64(3, 3)]], {"pads": [1] * 4}),
               Case("MaxUnpool", [real(*image), np.arange(64 * 56 * 56).reshape(image) * 4], {"kernel_shape": [2, 2], "strides": [2, 2]}),
               Case("RoiAlign", [real(1, 64, 40, 40), np.sort(random.uniform(0, 39, (50, 2, 2)), 1).reshape(50, 4).astype(np.float32), np.zeros(50, np.int64)],
                    {"output_height": 7, "output_width": 7}, title="RoiAlign 50 boxes of 1x64x40x40"),
               Case("DFT", [real(1, 100, 512, 1)], {"axis": 2}, opset=17), Case("STFT", [real(1, 16000), [np.int64(160)], [positive(400)]], opset=17),
               Case("DFT", [real(1, 100, 400, 1)], {"axis": 2, "onesided": 1}, opset=17, title="DFT 400 onesided"),
               Case("Det", [real(64, 4, 4)]), Case("Einsum", [real(1, 12, 128, 32), real(1, 12, 128, 32)], {"equation": "bhqd,bhkd->bhqk"})]
    result += [Case("QuantizeLinear", [a, [np.float32(0.01)], [np.uint8(128)]]), Case("DequantizeLinear", [whole(255, *image).astype(np.uint8), [np.float32(0.01)], [np.uint8(128)]]),
               Case("QuantizeLinear", [a, [positive(64)], [whole(9, 64).astype(np.int8)]], {"axis": 1}, title="QuantizeLinear per channel"),
               Case("DequantizeLinear", [whole(255, *tokens).astype(np.uint8), [positive(384)], [whole(9, 384).astype(np.uint8)]], {"axis": 2}, title="DequantizeLinear per channel, last axis"),
               Case("DynamicQuantizeLinear", [real(*tokens)], outputs=3),
               Case("MatMulInteger", [whole(255, 128, 384).astype(np.uint8), [whole(127, 384, 1536).astype(np.int8)], [np.uint8(7)], [np.int8(0)]]),
               Case("ConvInteger", [whole(255, 1, 64, 28, 28).astype(np.uint8), [whole(127, 64, 64, 3, 3).astype(np.uint8)], [np.uint8(7)], [np.uint8(3)]], {"pads": [1] * 4})]
    hidden = [[real(384, 1152)], [real(1152)]]
    result += [microsoft("FastGelu", [real(*tokens)]), microsoft("QuickGelu", [real(*tokens)]), microsoft("BiasGelu", [real(1, 128, 1536), [real(1536)]]),
               microsoft("SkipLayerNormalization", [real(*tokens), real(*tokens), [positive(384)], [real(384)]]),
               microsoft("SkipSimplifiedLayerNormalization", [real(*tokens), real(*tokens), [positive(384)]]),
               microsoft("Attention", [real(*tokens), *hidden, np.ones((1, 128), np.int32)], num_heads=12),
               microsoft("MultiHeadAttention", [real(*tokens), real(*tokens), real(*tokens)], num_heads=12),
               microsoft("FusedMatMul", [real(12, 128, 32), real(12, 128, 32)], transB=1, alpha=0.2),
               microsoft("DynamicQuantizeMatMul", [real(*tokens), [whole(255, 384, 1536).astype(np.uint8)], [np.float32(0.01)], [np.uint8(128)]]),
               microsoft("RotaryEmbedding", [real(1, 128, 384), whole(128, 1, 128), [real(128, 16)], [real(128, 16)]], num_heads=12),
               microsoft("MatMulNBits", [real(*tokens), [whole(255, 1536, 12, 16).astype(np.uint8)], [positive(1536 * 12)]], K=384, N=1536, bits=4, block_size=32),
               microsoft("MatMulNBits", [real(1, 1, 384), [whole(255, 1536, 12, 16).astype(np.uint8)], [positive(1536 * 12)]], K=384, N=1536, bits=4, block_size=32)]
    return result


def run_tool(arguments: argparse.Namespace, *words: str) -> dict:
    done = subprocess.run([arguments.tool, *words, "--json", "-"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def largest_error(expected: np.ndarray, got: np.ndarray) -> float:
    if expected.shape != got.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    return float(np.abs(expected - got).max() / max(np.abs(expected).max(), 1e-30))


def median_us(run: Any) -> float:
    times, begin = [], time.perf_counter()
    while time.perf_counter() - begin < SECONDS or len(times) < 5:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def measure(case: Case, arguments: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """Microseconds in Bitfold and in ONNX Runtime, and the largest error relative to the largest output."""
    path, data = folder / "m.onnx", folder / "x.npz"
    onnx.save(case.model(), path)
    feeds = case.feeds()
    np.savez(data, **feeds)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    run_tool(arguments, "run", str(path), "--input", str(data), "--output", str(folder / "y.npz"))
    with np.load(folder / "y.npz") as got:
        outputs = [got[f"o{k}"] for k in range(case.outputs)]
    error = max(largest_error(e, g) for e, g in zip(session.run(None, feeds), outputs))
    binding = session.io_binding()  # inputs and outputs stay where they are, as in Bitfold's bench
    for name, x in feeds.items():
        binding.bind_cpu_input(name, x)
    for k in range(case.outputs):
        binding.bind_output(f"o{k}")
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        ours.append(run_tool(arguments, "bench", str(path), "--input", str(data), "--threads", str(arguments.threads),
                             "--min-time", str(SECONDS))["median_us"])
        theirs.append(median_us(lambda: session.run_with_iobinding(binding)))
    return float(np.median(ours)), float(np.median(theirs)), error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all cases")
    parser.add_argument("--tool", default="build/bitfold")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least", type=float, default=3)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    onnxruntime.set_default_logger_severity(3)

    failed = 0
    print(f"| operator and sizes | Bitfold, us | ONNX Runtime, us | ratio |\n|---|---|---|---|" if arguments.table else
          f"ONNX Runtime {onnxruntime.__version__}, {arguments.threads} thread(s)")
    for case in cases():
        name = case.name()
        if arguments.names and not any(n.lower() in f"{case.op} {name}".lower() for n in arguments.names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                ours, theirs, error = measure(case, arguments, Path(folder))
            except Exception as failure:  # one case that a program refuses must not stop the table
                print(f"{name}: {str(failure)[:200]}", file=sys.stderr, flush=True)
                failed += 1
                continue
        ratio = (ours + FLOOR_US) / (theirs + FLOOR_US)
        note = " slow" if ratio >= arguments.at_least else ""
        note += f" differs by {error:.1e}" if error > TOLERANCE else ""
        failed += bool(note)
        print(f"| {name} | {ours:.1f} | {theirs:.1f} | {ratio:.2f}{note} |" if arguments.table else
              f"{name:<50}{ours:>10.1f}{theirs:>10.1f}{ratio:>8.2f}{note}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
