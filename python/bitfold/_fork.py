"""Processes made by fork, in which the threads of the parent do not exist."""

from __future__ import annotations

import os

from bitfold import _core

_is_forked = False


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


os.register_at_fork(after_in_child=_note_fork)


def check_forked(threads: int) -> None:
    """Raises Error where a call with several threads would wait for ever."""
    if _is_forked and threads != 1:
        raise _core.Error("this process was made by fork, in which only threads=1 works; pass that, or start processes "
                          "with multiprocessing.get_context('spawn')")
