"""What a run folder or a checkpoint says of itself, read as data: nothing is built, and types are checked.

Somebody else may have written it. What it may build is checked where it is built; see `busi.core.construct`.
"""

from collections.abc import Hashable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yaml import YAMLError

from busi.core import LAST_SEED, MAX_BATCH, MAX_FOLDS, MAX_SIZE, InputError, first_error

Fold = Annotated[int, Field(ge=0, le=MAX_FOLDS)]
Stage = Literal["seg", "cls"]


class Stored(BaseModel):
    """Values of a file; there may be others beside them."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class StoredSource(Stored):
    """One of ``data.sources`` of a config."""

    root: str
    read: dict[str, Any]


class DataSettings(Stored):
    """``data`` of a config."""

    name: str
    root: str | None
    read: dict[str, Any]
    sources: dict[str, StoredSource] | None
    train_only: list[str]
    hold_out: str | None
    fold: Fold
    num_folds: Annotated[int, Field(ge=2, le=MAX_FOLDS)]
    leave_out: Fold | None
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)]


class ModelSettings(Stored):
    """``model`` of a config."""

    network: dict[str, Any]
    tta: str


class GuideSettings(Stored):
    """``guide`` of a config."""

    name: str


class TrainerSettings(Stored):
    """``trainer`` of a config."""

    accelerator: str
    devices: int | str | list[int]
    max_epochs: Annotated[int, Field(ge=1)]


class Settings(Stored):
    """The config of a run, as far as it is read when the run is opened."""

    stage: Stage
    seed: Annotated[int, Field(ge=0, le=LAST_SEED)]
    image_size: Annotated[int, Field(ge=32, le=MAX_SIZE)]
    encoder: str
    monitor: str
    monitor_mode: Literal["min", "max"]
    debug: bool
    run_dir: str
    data: DataSettings
    model: ModelSettings
    guide: GuideSettings | None = None
    callbacks: dict[str, dict[str, Any]]
    logger: dict[str, dict[str, Any]]
    trainer: TrainerSettings


class Upstream(Stored):
    """``upstream`` of a provenance."""

    segmentation: str | None = None
    start: str | None = None
    start_weights: str | None = None
    members: list[str] = []
    members_finished: list[str] = []


class Provenance(Stored):
    """``provenance.json``."""

    stage: Stage
    debug: bool
    data: str
    split: str
    fold: Fold
    leave_out: Fold | None
    trained_on: list[Fold]
    guide: str | None
    settings: str
    recipe: str
    upstream: Upstream
    finished: str | None


class Finished(Provenance):
    """``provenance.json`` of a finished run."""

    finished: str
    monitor: str
    monitored: float | None
    tested: bool
    epoch: int | None
    seconds: float
    files: dict[str, str]


class PostprocessSettings(Stored):
    """``postprocess`` of a checkpoint."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    high_threshold: Annotated[float, Field(ge=0, le=1)]


class MetadataSettings(Stored):
    """``busi`` of a checkpoint; see `busi.runs.checkpoints.Metadata`."""

    stage: Stage
    config: str
    data: str
    split: str
    fold: Fold
    train: list[str]
    val: list[str]
    upstream: "MetadataSettings | None"
    start: list["MetadataSettings"] = []
    encoder_files: list[str] = []
    postprocess: PostprocessSettings | None


Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[list[Share | None], Field(min_length=3, max_length=3)]
"""Value, low and high; None where undefined."""


class Probe(Stored):
    """One of ``probes`` of a ``shortcut.json``: how well the source of some images can be told."""

    skipped: str | None
    sources: list[str] = []
    num_fitted: Annotated[int, Field(ge=0)] = 0
    num_judged: Annotated[int, Field(ge=0)] = 0
    chance: dict[str, Share] = {}
    features: dict[str, Interval] | None = None
    pixels: dict[str, Interval] | None = None
    label: dict[str, Interval] | None = None


class Normals(Stored):
    """One of ``normals`` of a ``shortcut.json``: what is called normal in a source."""

    split: Literal["val", "test"]
    num_normals: Annotated[int, Field(ge=0)]
    num_lesions: Annotated[int, Field(ge=0)]
    normal_recall: Interval
    lesions_called_normal: Interval


class Shortcut(Stored):
    """``shortcut.json``, see `busi.training.probe`."""

    skipped: str | None
    left_out: dict[str, str]
    no_features: str | None
    probes: dict[str, Probe]
    normals: dict[str, Normals]


def check_stored(kind: type[Stored], content: object, source: object) -> None:
    """Check what was read of a file.

    Args:
        kind: What it has to be.
        content: Plain values.
        source: The file, for the error.

    Raises:
        InputError: If a value is missing, of another type, or out of range.
    """
    try:
        kind.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"{source} is damaged or of another version ({first_error(error)}): train this run again"
        ) from None


def parse_config(text: str, source: Hashable) -> DictConfig:
    """Read the stored config of a run.

    Args:
        text: YAML.
        source: Where it stands, for errors.

    Raises:
        InputError: If it is none, lacks a value, or has one of another type, or one that would be looked up
            elsewhere (``${...}``).
    """
    return deepcopy(_parse(text, source))


@lru_cache(maxsize=64)  # a run is asked for its config many times, and YAML is read slowly
def _parse(text: str, source: Hashable) -> DictConfig:
    try:
        config = OmegaConf.create(text)
        plain = OmegaConf.to_container(config, resolve=False)
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(f"{source} is no readable config: train this run again") from error
    if "${" in text:
        raise InputError(f"{source} has interpolations (${{...}}), which no run writes: train this run again")
    check_stored(Settings, plain, source)
    if isinstance(plain, Mapping) and plain["stage"] == "cls" and not plain.get("guide"):
        raise InputError(f"{source} is damaged (guide is missing): train this run again")
    assert isinstance(config, DictConfig)
    return config
