"""The end of the process: what a metric left running does not hold it up."""

from __future__ import annotations

import atexit
import os
import sys
import threading

_PATIENCE = 1.0  # seconds for threads that are about to end


def leave(code: int) -> None:
    """Exit with ``code``; threads and processes of other people's code are said and left behind.

    Python would wait for them for ever.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")  # loaded where it is used
    children = multiprocessing.active_children() if multiprocessing else []
    threads = [
        t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()
    ]
    for thread in threads:
        thread.join(_PATIENCE / len(threads))
    left = [t.name for t in threads if t.is_alive()] + [child.name for child in children]
    if not left:
        sys.exit(code)
    told = f"not waiting for what a metric left running: {', '.join(left)}"
    print(told, file=sys.stderr)  # noqa: T201
    for child in children:
        child.kill()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
