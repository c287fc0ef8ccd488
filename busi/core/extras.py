"""Packages that not everybody has installed."""

import importlib
from typing import Any

from busi.core.types import InputError


def import_extra(module: str, package: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name.
        package: What the package is called where one installs it.
        extra: The extra of busi that has it.

    Raises:
        InputError: If it is not installed.
    """
    try:
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"this needs the package {package}: pip install '.[{extra}]'") from None
