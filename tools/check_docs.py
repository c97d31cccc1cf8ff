#!/usr/bin/env python3
"""Checks that links, cited files and cited equations exist. Exit status 1 if any is missing.

Usage: check_docs.py
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP = "src|docs|bench|tests|tools|include|examples|cli|cmake|fuzz"
LAYERS = "base|numeric|kernels|graph|ops|onnx|onednn|reference|passes|data|engine|quantize|report"


def exists(path: str) -> bool:
    """A file or folder; `kernels/quick_steps` also stands for its .h and .cpp."""
    return (ROOT / path).exists() or any((ROOT / path).parent.glob(Path(path).name + ".*"))


def is_placeholder(path: str) -> bool:
    return "*" in path or any(part.isupper() and len(part) > 2 for part in re.split(r"[/.]", path))


def check(path: Path, equations: dict[str, set[str]]) -> list[str]:
    text = path.read_text(encoding="utf-8")
    problems = []
    if path.suffix == ".md":
        for m in re.finditer(r"\[[^\]]*\]\(([^)#\s]+)(#[^)]*)?\)", text):
            target = m.group(1)
            if "://" not in target and not (path.parent / target).exists():
                problems.append(f"no such file: {target}")
        for m in re.finditer(rf"`(?:(?P<top>(?:{TOP})/[\w./-]+)|(?P<layer>(?:{LAYERS})/[\w./-]+))`", text):
            cited = m.group("top") or "src/" + m.group("layer")
            if not is_placeholder(cited) and not exists(cited.rstrip("/")):
                problems.append(f"no such file: {cited}")
    for m in re.finditer(r"docs/[\w/]+\.md(?: \((\d+a?)\))?", text):
        cited = m.group(0).split(" ")[0]
        if not (ROOT / cited).exists() and not (path.parent / cited).exists():
            problems.append(f"no such file: {cited}")
        elif m.group(1) and m.group(1) not in equations.get(cited, set()):
            problems.append(f"no equation ({m.group(1)}) in {cited}")
    return problems


def main() -> int:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    files = [ROOT / n for n in names if n.endswith((".md", ".h", ".cpp", ".py", ".js", ".txt")) and (ROOT / n).is_file()]
    equations = {str(p.relative_to(ROOT)): set(re.findall(r"  \((\d+a?)\)(?:,.*)?$", p.read_text(encoding="utf-8"), re.M))
                 for p in files if p.suffix == ".md"}
    found = 0
    for path in files:
        for problem in check(path, equations):
            print(f"{path.relative_to(ROOT)}: {problem}")
            found += 1
    print(f"documents: {found} broken references")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
