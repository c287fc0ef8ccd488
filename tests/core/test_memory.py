"""Freed memory is kept, and what the environment says goes first; garbage is looked for where it is made."""

import os
import platform
import subprocess
import sys

import pytest

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back")

CODE = """
import resource
import numpy as np
from busi.core import keep_freed_memory
kept = {call}
def touch():
    blocks = [np.ones(2**18) for _ in range(10)]  # 2 MB each
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(call: str, **variables: str) -> tuple[str, int]:
    """What the function said, and how many pages were mapped anew when 400 MB were asked for and freed."""
    theirs = ("MALLOC_", "GLIBC_TUNABLES")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    command = [sys.executable, "-c", CODE.format(call=call)]
    done = subprocess.run(command, env=ours | variables, capture_output=True, text=True, check=True)
    said, faults = done.stdout.split()
    return said, int(faults)


@glibc
def test_freed_memory_is_used_again() -> None:
    said, faults = count_faults("keep_freed_memory()")
    assert said == "True"
    _, default = count_faults("None")
    assert faults < 100
    assert default > 1000


@glibc
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_environment_goes_first(name: str) -> None:
    value = "glibc.malloc.trim_threshold=131072" if name == "GLIBC_TUNABLES" else "131072"
    said, _ = count_faults("keep_freed_memory()", **{name: value})
    assert said == "False"


GARBAGE = """
import gc, weakref
from busi.core import collect_rarely, collect_within

class Ring:
    def __init__(self):
        self.own = self

def is_collected(ring):
    gc.collect()
    return ring() is None

usual = gc.get_threshold()
collect_rarely()
rare = gc.get_threshold()
before = weakref.ref(Ring())
{frozen}
with collect_within():
    within = weakref.ref(Ring())
    print(gc.get_threshold() == usual < rare, is_collected(within), is_collected(before))
print(gc.get_threshold() == usual, is_collected(before))
"""


@pytest.mark.parametrize(("frozen", "after"), [("", True), ("gc.freeze()", False)])
def test_garbage_of_before_waits_and_that_of_within_does_not(frozen: str, after: bool) -> None:
    """What another one has frozen stays frozen."""
    command = [sys.executable, "-c", GARBAGE.format(frozen=frozen)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False", "True", str(after)]
