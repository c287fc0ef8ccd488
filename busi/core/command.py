"""What the commands with ordinary arguments share: logging, and one line for each error."""

import logging
import sys
from collections.abc import Callable

from busi.core.types import InputError


def run_command(main: Callable[[], None]) -> None:
    """Call a command's main function; an `InputError` ends it with one line and status 1."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout
    )
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
