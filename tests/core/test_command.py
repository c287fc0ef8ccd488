"""What all commands share: one line for an error, whatever the terminal can show."""

import os
import subprocess
import sys

import pytest

CODE = """
import logging, os
from busi.core import InputError, run_command
def main():
    logging.info("image %s", os.fsdecode(b"caf\\xe9 \\xc3\\xa4"))
    print(os.fsdecode(b"caf\\xe9 \\xc3\\xa4"))
    raise InputError("no such file: a\\nb " + os.fsdecode(b"\\xe9"))
run_command(main)
"""


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "utf-8:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
)
def test_no_encoding_of_the_terminal_ends_a_command(environment: dict[str, str]) -> None:
    kept = {name: x for name, x in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**kept, **environment}, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.decode() == "error: no such file: a\\nb \\xe9\n"
    assert done.stdout.count(b"caf\\udce9") == 2
