#!/usr/bin/env python3
"""Checks includes against the layer table in ARCHITECTURE.md. Exit status 1 on a violation.

Usage: check_layers.py [ROOT]
"""

import re
import sys
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)

# Public headers belong to a layer too: a folder may include only the headers of layers it may include.
HEADER_LAYER = {
    "error": "base", "file": "base", "nearest": "base", "cpu": "base", "memory": "base", "version": "base", "tensor": "numeric", "reals": "numeric", "affine": "numeric",
    "batch": "numeric", "ops": "ops", "node": "ops", "graph": "graph", "part": "graph", "onnx": "onnx", "custom_ops": "onnx", "passes": "passes",
    "equalize": "passes", "batch_norm_table": "passes",
    "reference": "reference", "data": "data", "input_specs": "report", "peaks": "kernels",
    "progress": "base", "recipe": "quantize", "calibrate": "quantize", "channel_statistics": "quantize", "quantize": "quantize", "data_free": "quantize", "session": "engine",
    "report": "report",
    "exact_sum": "numeric", "sensitivity": "report", "mixed_precision": "report", "analysis": "report",
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def allowed_table() -> dict[str, set[str]]:
    """Layer -> the layers it may include; "kernels/convert" allows only that folder."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    section = text.split("## Who may include whom")[1].split("\n## ")[0]
    table: dict[str, set[str]] = {"base": set()}
    for name, words in re.findall(r"(\w+)\s*-> ((?:[\w/]+ ?)+)", section):
        table[name] = set(words.split())
    return table


def breach_in_src(layer: str, path: Path, bracket: str, target: str, allowed: set[str]) -> str | None:
    if target.startswith("dnnl") and layer != "onednn":
        return "only onednn/ may include oneDNN"
    if target.startswith("bitfold/"):
        stem = target.removeprefix("bitfold/").removesuffix(".h")
        owner = HEADER_LAYER.get(stem)
        if owner is None:
            return f"unknown public header {target}: add it to HEADER_LAYER"
        if owner == layer or owner in allowed or any(word.startswith(owner + "/") for word in allowed):
            return None
        return f"{layer} may not include {owner} (public header {target})"
    if bracket == "<":
        return None
    folder = target.split("/")[0]
    if "/" not in target or not (ROOT / "src" / folder).is_dir():
        return None if (path.parent / target).exists() else f"{target}: write the path from src/"
    if folder == layer or folder in allowed or any("/" in word and target.startswith(word) for word in allowed):
        return None
    return f"{layer} may not include {target}"


def breach_outside(folder: str, path: Path, bracket: str, target: str) -> str | None:
    if bracket == "<" or target.startswith("bitfold/"):
        return None
    if (path.parent / target).exists() or (ROOT / folder / target).exists():
        return None
    return f"{folder} may include bitfold/ only, not {target}"


def main() -> int:
    table = allowed_table()
    found = 0
    for folder in ("src", "c", "cli", "examples", "python"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in {".h", ".cpp"} or path.stem.endswith(("_test", "_bench")):
                continue
            for bracket, target in INCLUDE.findall(path.read_text()):
                if folder == "src":
                    layer = path.relative_to(ROOT / "src").parts[0]
                    why = breach_in_src(layer, path, bracket, target, table.get(layer, set()))
                else:
                    why = breach_outside(folder, path, bracket, target)
                if why:
                    print(f"{path.relative_to(ROOT)}: {why}")
                    found += 1
    print(f"include layers: {found} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
