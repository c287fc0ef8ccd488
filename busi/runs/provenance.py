"""Where a number comes from: code, packages, machine, command."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch", "lightning", "hydra-core", "omegaconf", "segmentation-models-pytorch", "timm", "torchmetrics",
    "albumentations", "kornia", "opencv-python-headless", "pillow", "numpy", "scipy", "scikit-learn",
)  # fmt: skip


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_commit() -> str | None:
    """Commit of the checkout that this package is in, ``-dirty`` if files differ; None outside of one."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def describe_environment(command: str) -> dict[str, object]:
    """Code, packages and machine of this process, as plain values.

    Args:
        command: The module that is run, e.g. ``busi.train``.
    """
    return {
        "command": shlex.join([Path(sys.executable).name, "-m", command, *sys.argv[1:]]),
        "busi": version("busi"),
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": dict(filter(None, map(_find_version, PACKAGES))),
        "system": platform.platform(),
        "num_cpus": os.cpu_count(),
        "num_threads": _count_threads(),
        "gpu": _name_gpu(),
    }


def _find_version(name: str) -> tuple[str, str] | None:
    try:
        return name, version(name)
    except PackageNotFoundError:  # predicting with a bundle needs few of them
        return None


def _count_threads() -> int | None:
    """Threads that PyTorch computes with, if this process uses it; sums are rounded by their number."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch else None


def _name_gpu() -> str | None:
    """The GPU, if this process uses PyTorch and has one."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch and torch.cuda.is_available() else None
