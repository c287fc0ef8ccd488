"""Arguments of the command line, before Hydra reads them."""

import re
from collections.abc import Sequence

from busi.core import EMPTY, InputError, expand, quote_path

PATHS = (
    "resume",
    "start_from",
    "encoder_weights",
    "seg_ckpt",
    "guide_runs",
    "output_dir",
    "cache_dir",
    "data.root",
    "data.exclude",
    "data.hold_out",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
PLAIN = re.compile(r"[\w./~+-]*", re.ASCII)
"""What Hydra takes for one text as it is."""


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote the paths among arguments of the command line that Hydra would not take for one text.

    In a sweep, a comma separates values, as everywhere.

    Raises:
        InputError: If one of them is empty.
    """
    in_sweep = any(text in ("-m", "--multirun", "hydra.mode=MULTIRUN") for text in arguments)
    quoted = []
    for text in arguments:
        name, equals, value = text.partition("=")
        is_path = equals and name.lstrip("+") in PATHS
        if is_path and not unquote(value).strip():
            raise InputError(f"{name}= {EMPTY}, or leave it out")
        as_it_is = PLAIN.fullmatch(value) or value.startswith(("'", '"')) or "${" in value
        several = in_sweep and re.search(r"[,(\[]", value)
        if is_path and not as_it_is and not several:
            text = f"{name}={quote_path(value)}"
        quoted.append(text)
    return quoted


def expand_resume(arguments: Sequence[str]) -> list[str]:
    """Let ``resume=FOLDER`` run in that folder, with the stage of its run; nothing else is taken from it.

    Raises:
        InputError: If there is no run in the folder.
    """
    folders = [text.partition("=")[2] for text in arguments if text.startswith("resume=")]
    if not folders:
        return list(arguments)
    from busi.runs import open_run  # slow: --help need not wait for it

    folder = expand(unquote(folders[-1])).absolute()
    others = [text for text in arguments if not text.startswith("resume=")]
    place = [f"{name}={quote_path(str(folder))}" for name in ("resume", "hydra.run.dir")]
    return [f"stage={open_run(folder).provenance['stage']}", *others, *place, "hydra.output_subdir=null"]


def unquote(text: str) -> str:
    """A text as it was before `quote_path`, or before a user quoted it in the same way."""
    if text[:1] not in ("'", '"') or text[-1:] != text[:1] or len(text) < 2:
        return text
    quote = text[0]
    return re.sub(
        rf"(\\*)(\\{quote}|\Z)", lambda found: found[1][: len(found[1]) // 2] + found[2][1:], text[1:-1]
    )
