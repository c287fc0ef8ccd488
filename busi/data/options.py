"""Checks of the arguments of the data module."""

from omegaconf import DictConfig

from busi.core import InputError, expand

OPTIONS = {
    "conflicts": ("drop", "keep", "error"),
    "on_bad": ("error", "skip"),
    "balance": ("none", "sampler", "own_classes", "weights", "sources"),
    "folds": ("grouped", "published"),
}


def check_options(**given: str) -> None:
    """Raise `InputError` if an argument has none of its values."""
    for name, value in given.items():
        if value not in OPTIONS[name]:
            raise InputError(f"data.{name}={value}: give one of {', '.join(OPTIONS[name])}")


def check_sizes(image_size: int, batch_size: int, epoch_size: int | None, cache_gb: float) -> None:
    """Raise `InputError` if one of them is out of range."""
    if image_size < 32 or image_size % 32:
        raise InputError(f"image_size={image_size}: give a multiple of 32, at least 32")
    if batch_size < 1:
        raise InputError(f"data.batch_size={batch_size}: give at least 1")
    if epoch_size is not None and epoch_size < batch_size:
        raise InputError(f"data.epoch_size={epoch_size}: give at least data.batch_size={batch_size}")
    if cache_gb < 0:
        raise InputError(f"data.cache_gb={cache_gb}: give at least 0")


def check_folds(fold: int, leave_out: int | None, num_folds: int) -> None:
    """Raise `InputError` if there are too few folds, or no such ones."""
    if num_folds < 3:
        raise InputError(f"data.num_folds={num_folds}: at least 3 are needed, to train, choose and test")
    if not 0 <= fold < num_folds:
        raise InputError(
            f"data.fold={fold}: give a fold from 0 to {num_folds - 1} (data.num_folds={num_folds})"
        )
    can_train = train_folds(fold, num_folds)
    if leave_out is not None and (leave_out not in can_train or len(can_train) < 2):
        raise InputError(
            f"data.leave_out={leave_out}: give one of several training folds; those of data.fold={fold} "
            f"are {', '.join(map(str, can_train))}"
        )


def train_folds(fold: int, num_folds: int) -> list[int]:
    """The folds that train where `fold` is the test fold and the next one validates."""
    return [k for k in range(num_folds) if k not in (fold, (fold + 1) % num_folds)]


def make_absolute(data: DictConfig) -> None:
    """Let the part ``data`` of a config say where its files are, whatever folder somebody reads it in."""
    for name in ("root", "exclude"):
        if data.get(name) is not None:
            data[name] = str(expand(str(data[name])).absolute())
    for one in (data.sources or {}).values():
        one.root = str(expand(str(one.root)).absolute())
