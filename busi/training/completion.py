"""What a shell offers for ``busi train``: Hydra's groups, options and settings, and its own switches."""

import argparse
import re
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra.core.global_hydra import GlobalHydra

from busi.core import conf_dir, open_configs
from busi.training.arguments import PATHS
from busi.training.keys import list_options

STAGES = ("seg", "cls")


def complete_training() -> None:
    """Answer a shell that completes a line of ``busi train``; does not return."""
    import argcomplete

    parser = argparse.ArgumentParser()
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("--info", choices=("defaults-tree", "defaults", "searchpath", "plugins"))
    parser.add_argument("--config-dir")
    overrides = parser.add_argument("overrides", nargs="*")
    overrides.completer = complete_override  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser, append_space=False)


def complete_override(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Overrides that begin with what was typed.

    Args:
        prefix: The word that is completed.
        parsed_args: With the ``overrides`` before it, and ``config_dir``.
    """
    name, equals, value = prefix.partition("=")
    key, typed = name.lstrip("+"), parsed_args.overrides or []
    if equals and key in PATHS:
        folder, slash, begun = value.rpartition("/")
        inside = sorted(Path(folder + slash or ".").expanduser().glob("*"))
        names = [f"{path.name}{'/' * path.is_dir()}" for path in inside if path.name.startswith(begun)]
        return [f"{name}={folder}{slash}{x}" for x in names]
    own = [Path(parsed_args.config_dir)] if parsed_args.config_dir else []
    folders = [path for path in (conf_dir(), *own) if (path / key).is_dir()]
    if equals and key not in ("", "stage") and not key.startswith("hydra") and folders:
        stages = [text.partition("=")[2] for text in typed if text.startswith("stage=")]
        options = {x for stage in stages[-1:] or STAGES for x in list_options(key, folders, stage)}
        *before, begun = re.split(r"(?<=[,\[])", value)  # of a list, the last is completed
        given = {text.rstrip(",") for text in before}
        found = sorted(x for x in options - given if x.startswith(begun))
        return [f"{name}={''.join(before)}{x}" for x in found]
    with open_configs():
        loaded = GlobalHydra.instance().config_loader()
        return BashCompletion(loaded)._query("train", " ".join([*typed, prefix]))
