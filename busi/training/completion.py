"""What a shell offers for ``busi train``: Hydra's groups, options and settings, and its own switches."""

import argparse
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra.core.global_hydra import GlobalHydra

from busi.core import conf_dir
from busi.training.arguments import PATHS


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
        parsed_args: With the ``overrides`` before it.
    """
    name, equals, value = prefix.partition("=")
    if equals and name.lstrip("+") in PATHS:
        folder, begun = Path(value or ".").parent if value[-1:] != "/" else Path(value), Path(value).name
        begun = "" if value[-1:] == "/" else begun
        found = sorted(path for path in folder.expanduser().glob("*") if path.name.startswith(begun))
        return [f"{name}={path}{'/' * path.is_dir()}" for path in found]
    with hydra.initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        loaded = GlobalHydra.instance().config_loader()
        words = [*(parsed_args.overrides or []), prefix]
        return BashCompletion(loaded)._query("train", " ".join(words))
