"""Progress bars and warnings of long calls."""

from __future__ import annotations

import importlib
import logging
import sys
from types import TracebackType
from typing import Any

from bitfold import _core
from bitfold._data import without_folder

logger = logging.getLogger("bitfold")


def reports(progress: ProgressBar, folder: str) -> _core.Reports:
    """``folder``: that of samples from Python, which texts call "the samples"."""
    def warn(text: str) -> None:
        logger.warning("%s", without_folder(text, folder))

    def note(text: str) -> None:
        logger.info("%s", without_folder(text, folder))

    return _core.Reports(progress, warn, note)


class ProgressBar:
    """A bar of tqdm for each phase. Nothing is shown without tqdm, or outside of terminals and notebooks."""

    def __init__(self, is_wanted: bool) -> None:
        self._bar: Any = None
        self._phase = ""
        self._tqdm: Any = None
        is_notebook = "ipykernel" in sys.modules
        if is_wanted and (is_notebook or sys.stderr.isatty()):
            try:
                self._tqdm = importlib.import_module("tqdm.auto").tqdm
            except ImportError:
                return

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._tqdm is None:
            return
        if phase != self._phase:
            self.close()
            self._phase, self._bar = phase, self._tqdm(total=total, desc=phase, leave=False)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._phase = None, ""

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
