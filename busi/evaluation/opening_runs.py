"""A run or an ensemble of either stage, opened to be evaluated; it needs PyTorch."""

from pathlib import Path

from busi.core import InputError
from busi.evaluation.opening import OpenedModel
from busi.evaluation.own_sources import read_own_sources
from busi.inference import answer_as_run, find_run, gather_model_info
from busi.models import Postprocess
from busi.runs import describe_unknown, postprocess_of, read_best, read_seen


def open_run_model(source: Path, cache_dir: Path) -> OpenedModel:
    """Open a run; see `busi.evaluation.opening.open_model`.

    Raises:
        InputError: If it is missing, damaged or not finished, or nobody knows how it was guided.
    """
    run = find_run(source)
    if run is None:
        raise InputError(
            f"{source} is a checkpoint: give its run folder, whose validation images calibrate it"
        )
    checkpoint = read_best(run)
    metadata, guide = checkpoint.metadata, run.variant
    of_masks = metadata if metadata["stage"] == "seg" else metadata["upstream"]
    info = gather_model_info(run, checkpoint, postprocess_of(of_masks) if of_masks else Postprocess())
    variants = tuple(dict.fromkeys([*(["segmentation"] if of_masks else []), guide]))
    need_masks = guide in ("segmentation", "ground_truth")
    unknown = describe_unknown(checkpoint)
    answer, seen = answer_as_run(checkpoint), read_seen(checkpoint, cache_dir)
    own = read_own_sources(run, metadata["train"]) if metadata["stage"] == "cls" else {}
    return OpenedModel(run.folder, info, answer, variants, seen, unknown, run, need_masks, own)
