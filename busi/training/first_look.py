"""A first look at the data of a run, before what takes seconds to import: a wrong path ends at once."""

from functools import partial

from omegaconf import DictConfig

from busi.core import expand, to_plain
from busi.data import list_images, read_with

MADE = "busi.data.read_synthetic"
"""This reader makes what it reads."""


def look_at_data(cfg: DictConfig) -> None:
    """List the images of one data set, as the run will do.

    Pools, and data that is made, downloaded or read by code of the user's own, are left to the run. So is a
    run that goes on: its folder says where its data is.

    Args:
        cfg: Composed, interpolations not resolved.

    Raises:
        InputError: If there is no such data.
    """
    data = cfg.data
    if cfg.resume or data.download or data.sources:
        return
    read = to_plain(data.read)
    if read["_target_"] != MADE and read["_target_"].startswith("busi.data."):
        list_images(None if data.root is None else expand(str(data.root)), partial(read_with, read), None)
