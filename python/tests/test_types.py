"""The package's type annotations."""

import subprocess
import sys
from pathlib import Path

import bitfold


def test_mypy_accepts_the_package_in_strict_mode():
    package = Path(bitfold.__file__).parent
    result = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--no-incremental", package], capture_output=True,
                            text=True, cwd=package.parent)
    assert result.returncode == 0, result.stdout
