"""The space of a search: what its trials differ in, and what they have to share."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from busi.core import InputError, one_line

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Space = dict[str, "BaseDistribution"]
"""What is searched: name of a setting -> the values that it may have."""

SHARED = (
    "stage",
    "data",
    "data.fold",
    "data.num_folds",
    "data.split_seed",
    "data.leave_out",
    "data.conflicts",
    *(f"data.{name}" for name in ("root", "read", "sources", "folds", "train_only", "hold_out")),
    *(f"data.{name}" for name in ("subset", "exclude", "need_masks", "on_bad")),
    "monitor",
    "monitor_mode",
    "test",
)
"""Settings that decide how, and on which images, a trial is scored."""


def split_overrides(overrides: Sequence[Override]) -> tuple[Space, list[str]]:
    """Split overrides into what is searched, and what every trial shares; later ones go before earlier ones.

    ``NAME=VALUE`` takes a parameter out of the search, and ``~NAME`` leaves it at its default.

    Raises:
        InputError: If nothing is searched, or a range holds nothing.
    """
    space: Space = {}
    fixed: dict[str, str] = {}
    for override in overrides:
        key = override.get_key_element()
        plain = key.lstrip("+~")
        known = [space.pop(name) for name in list(space) if name.lstrip("+") == plain]
        if override.is_sweep_override():
            try:
                space[key] = _find_values(override)
            except ValueError as error:
                raise InputError(f"{override.input_line}: {one_line(error)}") from error
        elif not (known and override.is_delete()):
            fixed[key] = str(override.input_line)
    if not space:
        raise InputError(
            "nothing is searched: give a range, e.g. 'optimizer.lr=tag(log,interval(1e-4,1e-2))', or a "
            "choice, e.g. augmentation=light,strong"
        )
    return space, [text for key, text in fixed.items() if key not in space]


def _find_values(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not override.is_interval_sweep():
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    value: Any = override.value()
    assert isinstance(value, IntervalSweep)
    whole = isinstance(value.start, int) and isinstance(value.end, int)
    kind = IntDistribution if whole else FloatDistribution
    return kind(value.start, value.end, log="log" in value.tags)  # type: ignore[arg-type]


def check_search(cfg: DictConfig, names: Iterable[str]) -> None:
    """Refuse a search whose trials could not be compared.

    Args:
        cfg: What all trials share.
        names: The settings that are searched.

    Raises:
        InputError: If trials would be scored on different images, or on those of the test fold.
    """
    parts = {name: name.lstrip("+") for name in names}
    below = tuple(f"{name}." for name in SHARED if name != "data")
    if searched := [name for name, plain in parts.items() if plain in SHARED or plain.startswith(below)]:
        raise InputError(
            f"{', '.join(searched)} cannot be searched: all trials are scored on the same validation fold"
        )
    if cfg.test:
        raise InputError(
            "a search leaves the test fold alone: leave out test=true, and score the chosen trial"
        )
    if cfg.data.leave_out is not None:
        raise InputError("data.leave_out is for guides, not for scores: leave it out of a search")
