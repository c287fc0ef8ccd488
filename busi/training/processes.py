"""Processes that start together and end together."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping

GRACE_SECONDS = 60
"""Seconds that processes have to end by themselves, before they are killed."""


def run_all(command: list[str], environments: list[Mapping[str, str]]) -> int | None:
    """Run a command once for each set of environment variables, until all end or one of them fails.

    They get a Ctrl-C when this process is interrupted or one of them fails, and see the end of their
    standard input if it dies.

    Returns:
        The status of the first that failed, or None.
    """
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C of the terminal comes once, from here
        )
        for variables in environments
    ]
    try:
        while True:
            states = [process.poll() for process in processes]
            if failed := next((state for state in states if state), None):
                return failed
            if all(state == 0 for state in states):
                return None
            time.sleep(0.1)
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        end = time.monotonic() + GRACE_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()


def exit_with_parent() -> None:
    """Stop as by Ctrl-C when the process that started this one is gone."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        # Not sys.stdin: a thread that holds its lock would crash the interpreter at its end.
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
