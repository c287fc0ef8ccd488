"""``python -m busi.training.rank``: one process of a run on several devices, started by `launch`."""

import json
import logging
import os
import sys
from pathlib import Path

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from busi.core import InputError, need_room, one_line, print_anything, trust, write_json
from busi.sweeps import Pruned
from busi.training.distributed import is_worker, release_ranks, rendezvous
from busi.training.fitting import fit, run_as_worker
from busi.training.processes import exit_with_parent


def main(place: Path) -> None:
    """Train; as rank 0 also decide, and leave word of what became of it.

    Args:
        place: Folder with ``job.json``; gets ``result.json``.
    """
    exit_with_parent()
    print_anything()
    logging.getLogger("lightning").setLevel(logging.WARNING)
    if is_worker():
        logging.basicConfig(level=logging.WARNING)
        run_as_worker()
        return
    job = json.loads((place / "job.json").read_text())
    sys.argv = job["argv"]
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[
            logging.StreamHandler(sys.stdout),
            *(logging.FileHandler(path, encoding="utf-8", errors="backslashreplace") for path in job["logs"]),
        ],
    )
    cfg: DictConfig = OmegaConf.create(job["config"])
    trust(*cfg.trust)
    rendezvous()
    try:
        with need_room(Path(job["folder"])):
            run = fit(cfg, Path(job["folder"]), job["resume"])
        write_json(place / "result.json", {"run": str(run.folder)})
    except Pruned as pruned:
        write_json(place / "result.json", {"pruned": str(pruned)})
    except (InputError, InstantiationException, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":  # as Hydra reads it
            raise
        write_json(place / "result.json", {"error": one_line(error)})
        sys.exit(1)
    finally:
        release_ranks()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
