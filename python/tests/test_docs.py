"""The examples of docs/python.md."""

import re
import shutil
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_examples_run_in_their_order(resnet, cifar, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(resnet, "model.onnx")
    np.save("samples.npy", cifar[0][:100])
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) > 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["evaluation"].sample_count == 100
    assert names["quantized"].metric >= names["quantized"].float_metric - 0.01
