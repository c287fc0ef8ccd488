"""A first look at the data of a run, before what takes seconds to import: a wrong path ends at once."""

from functools import partial

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from busi.core import expand, find_target, to_plain

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
    try:
        read, root = to_plain(data.read), data.root
        target = read["_target_"]
    except (OmegaConfBaseException, KeyError, TypeError):
        return  # the run says what is wrong with it
    from busi.data import read_records, read_with  # NumPy

    if target != MADE and find_target(target, "data") is not None:
        read_records(None if root is None else expand(str(root)), partial(read_with, read), None)
