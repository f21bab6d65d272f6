"""How a process of Winnow's own ends: with the code of its work, whatever threads are left.

Before Python 3.14 an interpreter that shuts down ends every thread that asks for it, and does so
by unwinding the thread's stack. A thread of a native library that holds a Python object, such as
one of Arrow's that gives back the bytes of a table it has read, is in C++ then, which takes that
for a fault and aborts the process: exit code 134 after the work was done. So our processes do not
shut the interpreter down. Airflow's task processes do not either: they end by `os._exit` too.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

FAILED = 1
UNWRITTEN = 120
"""Python's own code where the last output could not be written."""


def run_and_leave(main: Callable[[], int]) -> NoReturn:
    """End the process with what `main` returns, and as Python would where it raises instead."""
    interrupted = False
    try:
        code = main()
    except SystemExit as error:
        code = _asked(error)
    except KeyboardInterrupt:
        interrupted, code = True, 128 + signal.SIGINT
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = FAILED
    # As at every end of a Python process, only not the shutting down that follows: its own threads
    # end, then what was left for the exit is done, then the output is written.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not _flushed() and not code:
        code = UNWRITTEN
    if interrupted:
        # A shell stops its loop only for a command that died of the signal.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _asked(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return FAILED


def _flushed() -> bool:
    """Write what the output still holds; False where nobody reads it any more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        return False
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
    return True
