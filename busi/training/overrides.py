"""Overrides of the command line, composed once before Hydra does: what is wrong with them is one line."""

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import InputError, conf_dir, open_configs, quote_path
from busi.training.keys import check_keys, list_options, suggest
from busi.training.rules import check_values


def options_first(arguments: Sequence[str]) -> list[str]:
    """Put what begins with a hyphen before the overrides, which argparse takes in one piece alone."""
    known = get_args_parser()._option_string_actions
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(arguments)
    for text in rest:
        (options if text.startswith("-") else overrides).append(text)
        if text in known and known[text].nargs != 0:
            options += islice(rest, 1)
    return [*options, *overrides]


def check_overrides(arguments: Sequence[str]) -> DictConfig | None:
    """Check the overrides of a training or a sweep.

    Of a sweep, each value of a list is checked once, beside the first value of the others.

    Args:
        arguments: As Hydra gets them.

    Returns:
        What they compose; None for a sweep, and where something is asked for that trains nothing.

    Raises:
        InputError: If one cannot be read, names a setting, a group or an option that is none, or has a wrong
            value.
    """
    asked, unknown = get_args_parser().parse_known_args(list(arguments))
    if unknown:
        name = unknown[0].partition("=")[0]
        plain, cfg = name.lstrip("-").replace("-", "_"), _compose([], None)
        known = plain in cfg or OmegaConf.select(cfg, plain) is not None
        hint = f"did you mean {plain}=...?" if known else suggest(plain, cfg)
        raise InputError(f"there is no {name}: settings are NAME=VALUE, --help shows more; {hint}")
    questions = (asked.help, asked.hydra_help, asked.info, asked.shell_completion)
    if any(questions) or asked.config_name or asked.config_path or asked.experimental_rerun:
        return None
    overrides = [_parse(text) for text in asked.overrides]
    for one in overrides:
        if (conf_dir() / one.key_or_group).is_dir() and isinstance(one.value(), int | float):
            raise InputError(f"{one.input_line}: give the name of an option, --help lists them")
    if asked.config_dir and any(one.key_or_group == "hydra.searchpath" for one in overrides):
        return None
    modes = [str(one.value()) for one in overrides if one.key_or_group == "hydra.mode"]
    in_sweep = asked.multirun or modes[-1:] == ["MULTIRUN"]
    for given in _vary([_list_values(one, in_sweep) for one in overrides]):
        check_keys(cfg := _compose(given, asked.config_dir))
        check_values(cfg)
    return None if asked.cfg or in_sweep else cfg


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{text}: write NAME=VALUE, e.g. data.fold=1") from error
        if any(value.count(left) > value.count(right) for left, right in ("[]", "{}", "()")):
            raise InputError(
                f"{text} cannot be read: it ends inside a bracket. Put quotes around all of it: '{text} ...'"
            ) from error
        raise InputError(
            f"{text} cannot be read: quote a value that has spaces, brackets or signs: "
            f'"{name}={quote_path(value)}"'
        ) from error


def _list_values(override: Override, in_sweep: bool) -> list[str]:
    """An override with each value of its list, or the first of a range."""
    if override.type == OverrideType.DEL or not override.is_sweep_override():
        return [str(override.input_line)]
    if not in_sweep:
        raise InputError(f"{override.input_line}: for several values, each a run, add -m; a list is [1,2]")
    if override.is_interval_sweep():
        return [f"{override.get_key_element()}={override.value().start}"]  # type: ignore[union-attr]
    name, most = str(override.input_line).partition("=")[0], None if override.is_choice_sweep() else 1
    try:
        return [f"{name}={value}" for value in islice(override.sweep_string_iterator(), most)]
    except HydraException:
        return []


def _vary(choices: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The first value of each override, then each other value once, beside the first of the others."""
    there = [values for values in choices if values]
    first = [values[0] for values in there]
    yield first
    for i, values in enumerate(there):
        for value in values[1:]:
            yield [*first[:i], value, *first[i + 1 :]]


def _compose(overrides: Sequence[str], config_dir: str | None) -> DictConfig:
    more = []
    if config_dir:
        if not Path(config_dir).is_dir():
            raise InputError(f"--config-dir {config_dir}: there is no such folder")
        more = [f"hydra.searchpath=[{quote_path(f'file://{Path(config_dir).absolute()}')}]"]
    with open_configs():
        try:
            return hydra.compose("train", overrides=[*overrides, *more])
        except (HydraException, OmegaConfBaseException) as error:
            folders = [conf_dir(), *([Path(config_dir)] if config_dir else [])]
            raise InputError(_explain(error, overrides, more, folders)) from error


def _explain(error: Exception, overrides: Sequence[str], more: Sequence[str], folders: Sequence[Path]) -> str:
    text = str(error)
    if found := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'", text):
        group, option = found.groups()
        stages = [text.partition("=")[2] for text in overrides if text.startswith("stage=")]
        if known := list_options(group, folders, (stages or ["seg"])[-1]):
            close = difflib.get_close_matches(option, known, 2)
            hint = f"did you mean {' or '.join(close)}?" if close else f"give one of {', '.join(known)}"
            own = (
                "" if close or more else f" (one of your own, in FOLDER/{group}/, needs --config-dir FOLDER)"
            )
            return f"there is no {group}={option}: {hint}{own}"
    if found := re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        name = found[1].lstrip("+~").partition("=")[0]
        if name.startswith("hydra."):
            return f"{name} is no setting: python -m busi.train --cfg hydra prints those of Hydra"
        return f"{name} is no setting: {suggest(name, _compose_without(name, overrides, more))}"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if "merge DictConfig with ListConfig" in str(cause):
        return "a mapping cannot replace a list: data.sources={name: path, ...} goes without data=pooled"
    return " ".join(str(cause).partition("\n    full_key")[0].split())


def _compose_without(name: str, overrides: Sequence[str], more: Sequence[str]) -> DictConfig:
    """The config of the options that were chosen, as far as they can be composed without one override."""
    named = [(text.lstrip("+~").partition("=")[0].partition("@")[0], text) for text in overrides]
    chosen = [text for key, text in named if key != name and (conf_dir() / key).is_dir()]
    stage = [text for key, text in named if key == "stage"]
    for given in (chosen, stage):
        try:
            return hydra.compose("train", overrides=[*given, *more])
        except (HydraException, OmegaConfBaseException):
            continue
    return hydra.compose("train")
