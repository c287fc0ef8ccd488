"""``python -m busi.train``: compose a config and run it."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from busi.paths import conf_dir


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Run one composed config in Hydra's output folder; return the monitored value to a sweeper."""
    # The heavy imports wait until a run starts: --help and --cfg answer at once.
    from busi.fit import fit
    from busi.types import InputError

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    try:
        run = fit(cfg, folder)
    except (InputError, InstantiationException, OmegaConfBaseException) as error:
        # In a sweep the error is the launcher's: it records the job, and SystemExit would end them all.
        if hydra_config.mode == RunMode.MULTIRUN or "HYDRA_FULL_ERROR" in os.environ:
            raise
        cause = error.__cause__ if isinstance(error.__cause__, InputError) else error
        hint = "" if isinstance(cause, InputError) else " (HYDRA_FULL_ERROR=1 shows the traceback)"
        raise SystemExit(f"error: {' '.join(str(cause).split())}{hint}") from None
    monitored: float = run.provenance["monitored"]
    return monitored


if __name__ == "__main__":
    sys.argv[0] = "busi.train"
    main()
