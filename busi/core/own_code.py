"""Code and configs of the user's own: found before they are used, or refused in one line."""

import difflib
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from busi.core.text import quote_path
from busi.core.types import InputError

_configs: list[Path] = []


def use_configs(folder: Path) -> None:
    """Look for configs in a folder of the user's own, too, for as long as this process lives.

    Args:
        folder: Holds groups: ``data/mine.yaml`` makes ``mine`` a data set.

    Raises:
        InputError: If there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder}: there is no such folder")
    _configs.append(folder.absolute())


def own_search_path() -> list[str]:
    """The override by which Hydra finds what lies in the folders of `use_configs`; nothing without any."""
    folders = ",".join(quote_path(f"file://{folder}") for folder in _configs)
    return [f"hydra.searchpath=[{folders}]"] if folders else []


def find_own(path: str, target: str) -> None:
    """Check that trusted code can be imported and has what a target names.

    Args:
        path: The dotted name of the part of a config, for errors.
        target: Dotted name in a trusted package: the import runs its code.

    Raises:
        InputError: If it cannot be imported, or has no such name.
    """
    first, *rest = target.split(".")
    found: object = _import(path, target, first)
    name = first
    for part in rest:
        inner = f"{name}.{part}"
        if not hasattr(found, part) and hasattr(found, "__path__") and importlib.util.find_spec(inner):
            _import(path, target, inner)
        if not hasattr(found, part):
            close = difflib.get_close_matches(part, [one for one in dir(found) if one[0] != "_"], 1)
            hint = f": did you mean {name}.{close[0]}?" if close else ""
            raise InputError(f"{path}._target_={target}: {name} has no {part}{hint}")
        found, name = getattr(found, part), inner


def _import(path: str, target: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the code of the user raises
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            text = f"there is no module {name}, neither in this folder nor among the installed packages"
        else:
            text = f"{name} cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"{path}._target_={target}: {text}") from error
