"""Environment variables: those that keep libraries silent, and those that nobody gave a value."""

import os
import sys
import warnings

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.29: calls a server once a graph is open
    "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations: asks for its newest version on import
    "GRADIO_ANALYTICS_ENABLED": "False",  # gradio: asks for its newest version, and reports its use
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, through which gradio reports
    "WANDB_ERROR_REPORTING": "false",  # W&B: reports errors and timings of its own, offline too
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray: reports its use every hour
}
"""Environment variables that these libraries read, most of them when they are imported."""


FOLDERS = ("BUSI_ROOT", "BUSI_CACHE", "HOME")
"""Environment variables that name folders."""


def forget_empty_folders() -> None:
    """Remove those of `FOLDERS` that are empty, which would stand for the current folder or the root.

    An empty one counts as one that is not set, as in a shell's ``BUSI_CACHE= python -m busi.train``.
    """
    for name in FOLDERS:
        if not os.environ.get(name, "set").strip():
            del os.environ[name]


def silence_libraries() -> None:
    """Set `SWITCHES`, whatever they were, for this process and those that it starts.

    ONNX Runtime may have been imported without its switch. Then it is told to stop, and a warning says that
    it may have called already.
    """
    late = sys.modules.get("onnxruntime")
    if late is not None and os.environ.get("ORT_DISABLE_TELEMETRY") != SWITCHES["ORT_DISABLE_TELEMETRY"]:
        if stop := getattr(late, "disable_telemetry_events", None):
            stop()
        warnings.warn(
            "onnxruntime was imported before busi and may look up its telemetry server: import busi first, "
            "or set ORT_DISABLE_TELEMETRY=1",
            RuntimeWarning,
            stacklevel=3,
        )
    os.environ.update(SWITCHES)
