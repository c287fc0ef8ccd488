"""Commands in processes that are forked from one which has imported everything: real ones that start at once.

What a new interpreter would do differently (what it imports, its encoding) needs `subprocess` instead.
"""

import atexit
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

Done = subprocess.CompletedProcess[str]

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "gradio",
        "busi.training.fitting",
        "busi.guides.prepare",
        "busi.sweeps.optuna_sweeper",
        "busi.sweeps.pruning",
        "busi.inference.export",
        "busi.inference.folder",
        "busi.inference.loading",
        "busi.reporting.report",
        "tests.processes",
    ]
)


def no_wait(handle: int) -> None:
    """In place of `os.fsync`: the power does not fail in a test, and waiting is a tenth of a small run."""
    del handle


def act(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    outputs: tuple[Path, Path],
    environment: Mapping[str, str],
    limit: int | None,
) -> None:
    """What a forked process does: the command, in a folder, its output kept."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell ignore it
    multiprocessing.set_start_method(None, force=True)  # that of a new interpreter, and not of this server
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # as the environment says it
    os.chdir(folder)
    for number, path in enumerate(outputs, 1):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.path.insert(0, str(folder))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out


def act_without_waiting(*arguments: Any) -> None:
    """`act`, while the power does not fail."""
    os.fsync = no_wait  # type: ignore[assignment]
    act(*arguments)


def start(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    outputs: tuple[Path, Path],
    environment: Mapping[str, str | None],
    limit: int | None = None,
) -> BaseProcess:
    """Start ``python -m MODULE ARGUMENTS`` in a folder.

    Args:
        module: The command.
        arguments: Of it.
        folder: Where it starts; made if it is not there.
        outputs: Where what it prints and its errors are appended.
        environment: Variables, beside those of this process; None removes one of them.
        limit: The most bytes that a file may have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = _told(environment)
    given = (module, list(arguments), folder, outputs, told, limit)
    process = SERVER.Process(target=act_without_waiting, args=given)
    process.start()
    return process


def call(module: str, *arguments: str, cwd: Path, **environment: str | None) -> Done:
    """Run ``python -m MODULE ARGUMENTS`` in a folder, as `subprocess.run` would, and wait for its end.

    With variables that an interpreter reads when it starts (``PYTHON...``), it is a new one.
    """
    if any(name.startswith("PYTHON") for name in environment):
        command = [sys.executable, "-m", module, *arguments]
        told = _told(environment)
        return subprocess.run(command, cwd=cwd, env=told, capture_output=True, text=True, check=False)
    with tempfile.TemporaryDirectory() as place:
        outputs = (Path(place, "stdout"), Path(place, "stderr"))
        process = start(module, arguments, cwd, outputs, environment)
        process.join()
        assert process.exitcode is not None
        output, errors = (path.read_text() if path.exists() else "" for path in outputs)
    return subprocess.CompletedProcess([module, *arguments], process.exitcode, output, errors)


def _told(environment: Mapping[str, str | None]) -> dict[str, str]:
    told = {**os.environ, **environment}
    return {name: value for name, value in told.items() if value is not None}
