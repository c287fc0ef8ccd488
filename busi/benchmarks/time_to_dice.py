"""How long a new user waits for a useful model: whole processes on BUSI, from raw files to a Dice."""

import os
import tempfile
from pathlib import Path
from statistics import median

import lightning

from busi.benchmarks.configs import compose
from busi.benchmarks.rows import Row, compare, spread
from busi.benchmarks.start import time_process
from busi.core import InputError, construct, write_json
from busi.data import BUSIDataModule

ROUNDS = 1
DICE = 0.65
SETTING = (
    *("image_size=128", "model.network.decoder_channels=[128,64,32,16,8]"),
    *("trainer.max_epochs=8", "scheduler=one_cycle"),
)
"""A run that is fast and good enough; the plain script has the size and the network of a default run."""


class LeaveAtDice(lightning.Callback):
    """Ends the process when a validation Dice is reached, with status 1 if it never is.

    Args:
        dice: Of lesions at network size, ``val/dice_net``.
    """

    def __init__(self, dice: float) -> None:
        self.dice = dice

    def on_validation_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Leave at once."""
        reached = float(trainer.callback_metrics["val/dice_net"]) >= self.dice
        if reached or trainer.current_epoch + 1 == trainer.max_epochs:
            os._exit(0 if reached else 1)


def measure(image_size: int, rounds: int) -> list[Row]:
    """Measure the minutes until the mean lesion Dice of validation in fold 0 is 0.65, with an empty cache.

    Args:
        image_size: Of the plain script.
        rounds: Seeds that are tried.

    Raises:
        InputError: If there is no BUSI, or the Dice is not reached.
    """
    if "BUSI_ROOT" not in os.environ:
        raise InputError("time-to-dice trains on BUSI: set BUSI_ROOT to its folder")
    root = Path(os.environ["BUSI_ROOT"]).expanduser().resolve()
    busi, plain = [], []
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            split = write_json(folder / "split.json", list_split(folder))
            peer = ["-m", "busi.benchmarks.plain", str(split), str(image_size), str(seed), str(DICE)]
            leave = "busi.benchmarks.time_to_dice.LeaveAtDice"
            run = [
                *("-m", "busi.train", "stage=seg", f"seed={seed}", f"data.root={root}", *SETTING),
                *(f"+callbacks.leave._target_={leave}", f"+callbacks.leave.dice={DICE}"),
                "trust=[busi.benchmarks]",
            ]
            plain.append(time_process(peer, folder) / 60)
            busi.append(time_process(run, folder) / 60)
    name = f"from raw files to a validation Dice of {DICE}"
    ratio, between = compare(busi, plain), spread(busi, plain)
    return [Row(name, median(busi), "min", "plain script", ratio, "x", 0.5, at_most=True, spread=between)]


def list_split(cache_dir: Path) -> dict[str, list[tuple[str, str, list[str], int]]]:
    """The images that train and validate in fold 0, with a cache that is not that of the run."""
    cfg = compose(["stage=seg", f"cache_dir={cache_dir}/split"])
    data: BUSIDataModule = construct(cfg.data, "data")
    records = data.cohort.records
    return {
        split: [
            (records[i].id, str(records[i].image), [str(mask) for mask in records[i].masks], records[i].label)
            for i in data.cohort.indices(split).tolist()
        ]
        for split in ("train", "val")
    }
