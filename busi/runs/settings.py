"""Runs of different settings (model, loss, augmentation), told apart and named by what differs."""

import json
from collections.abc import Mapping, Sequence

from omegaconf import OmegaConf

from busi.runs.finding import knows_overrides, read_overrides
from busi.runs.fingerprints import NOT_SETTINGS, SEED_SETTINGS, flatten, not_settings
from busi.runs.predictions import Predictions

MOST = 4
"""Values that the name of a setting has room for."""
CHANCE = (*SEED_SETTINGS, "data.fold", "start.fold", "data.hold_out")
"""What the runs of one setting differ in: seed, fold, and the hospital that is left out."""


def alike_in_a_setting(one: Predictions, other: Predictions) -> tuple[str, ...]:
    """What two runs of one setting may differ in: places, fold, seed, and the hospital that is left out."""
    return (*not_settings(one.config, other.config), *CHANCE)


def group_settings(found: Sequence[Predictions]) -> list[list[Predictions]]:
    """Put runs of the same settings together, in the order in which they come."""
    groups: dict[str, list[Predictions]] = {}
    for one in found:
        values = flatten(one.config, (*not_settings(one.config), *CHANCE))
        # Nearly as `find_differences` compares: nothing is what is not there, and 1 is 1.0.
        told = {name: _number(value) for name, value in values.items() if value is not None}
        groups.setdefault(json.dumps(told, sort_keys=True, default=str), []).append(one)
    return list(groups.values())


def name_settings(groups: Sequence[Sequence[Predictions]]) -> list[str]:
    """Name settings by what the user typed if that is known of all, else by values of their configs.

    Returns:
        Different names; an empty one if there is a single setting.
    """
    if len(groups) == 1:
        return [""]
    labels: list[str] = []
    typed = all(knows_overrides(group[0].run.folder) for group in groups)
    for read in (_typed, _configured) if typed else (_configured,):
        values = [read(group[0]) for group in groups]
        names = dict.fromkeys(name for one in values for name in one)
        apart = [name for name in names if len({repr(one.get(name)) for one in values}) > 1]
        if read is _typed:
            apart = [name for name in apart if _differs(name, groups)]
        labels = [_label({name: one[name] for name in apart if name in one}) for one in values]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label} ({group[0].run.folder})" for label, group in zip(labels, groups, strict=True)]


def _differs(name: str, groups: Sequence[Sequence[Predictions]]) -> bool:
    """Whether configs differ where an override says so: what one typed, the recipe of another may say."""
    parts = [OmegaConf.select(group[0].config, name.lstrip("+~")) for group in groups]
    known = [part for part in parts if part is not None]  # none of ``experiment``, which no config keeps
    return not known or len({repr(part) for part in parts}) > 1


def _number(value: object) -> object:
    if isinstance(value, list):
        return [_number(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _label(values: Mapping[str, object]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in list(values.items())[:MOST])
    return shown + ", ..." * (len(values) > MOST) if values else "defaults"


def _typed(one: Predictions) -> dict[str, object]:
    """The overrides that a run was started with, of those that may tell its setting."""
    pairs = dict(text.split("=", 1) for text in read_overrides(one.run.folder))
    ignored = (*NOT_SETTINGS, *CHANCE, "debug")
    return {
        name: value
        for name, value in pairs.items()
        if not any(name == other or name.startswith(f"{other}.") for other in ignored)
    }


def _configured(one: Predictions) -> dict[str, object]:
    """The values of a config that may tell its setting; one that stands in several places is told once."""
    if one.run.members:
        return {"ensemble": f"{len(one.run.members)} trainings"}
    values: dict[str, object] = {}
    seen: set[tuple[str, str]] = set()
    for name, value in flatten(one.config, (*NOT_SETTINGS, *CHANCE)).items():
        key = (name.rsplit(".", 1)[-1], repr(value))
        if key not in seen and value is not None:
            values[name] = value
        seen.add(key)
    return values
