"""``python -m busi.training.rank``: one process of a run on several devices, started by `launch`."""

import json
import logging
import os
import sys
from pathlib import Path

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import InputError, need_room, write_json
from busi.sweeps import Pruned
from busi.training.distributed import dismiss, is_follower, meet, outlive_nobody
from busi.training.fitting import fit, follow


def main(place: Path) -> None:
    """Train; as rank 0 also decide, and leave word of what became of it.

    Args:
        place: Folder with ``order.json``; gets ``answer.json``.
    """
    outlive_nobody()
    logging.getLogger("lightning").setLevel(logging.WARNING)
    if is_follower():
        logging.basicConfig(level=logging.WARNING)
        follow()
        return
    order = json.loads((place / "order.json").read_text())
    sys.argv = order["argv"]
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.StreamHandler(sys.stdout), *map(logging.FileHandler, order["logs"])],
    )
    cfg: DictConfig = OmegaConf.create(order["config"])
    meet()
    try:
        with need_room(Path(order["folder"])):
            run = fit(cfg, Path(order["folder"]), order["resume"])
        write_json(place / "answer.json", {"run": str(run.folder)})
    except Pruned as pruned:
        write_json(place / "answer.json", {"pruned": str(pruned)})
    except (InputError, InstantiationException, OmegaConfBaseException) as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        cause = error.__cause__ if isinstance(error.__cause__, InputError) else error
        write_json(place / "answer.json", {"error": " ".join(str(cause).split())})
        sys.exit(1)
    finally:
        dismiss()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
