"""``python -m busi.audit DATA --output DIR``: describe a data set before anything is trained on it."""

import argparse

from busi.core import default_cache_dir, expand, path_argument, run_command
from busi.reporting import write_audit


def main() -> None:
    """Parse the arguments and write the audit."""
    parser = argparse.ArgumentParser(prog="python -m busi.audit", description=__doc__)
    parser.add_argument(
        "data", help="a data set: its name (busi, busbra), a CSV manifest, or a folder in a known layout"
    )
    parser.add_argument(
        "--output", type=path_argument, required=True, help="folder for index.html and the rest"
    )
    parser.add_argument(
        "--cache", type=path_argument, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )
    arguments = parser.parse_args()
    cache_dir = arguments.cache or default_cache_dir()
    write_audit(arguments.data, arguments.output, expand(cache_dir))


if __name__ == "__main__":
    run_command(main)
