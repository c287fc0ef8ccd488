"""``python -m busi.audit ROOT --output DIR``: describe a data set before anything is trained on it."""

import argparse
from pathlib import Path

from busi.core import default_cache_dir, expand, run_command
from busi.reporting import write_audit


def main() -> None:
    """Parse the arguments and write the audit."""
    parser = argparse.ArgumentParser(prog="python -m busi.audit", description=__doc__)
    parser.add_argument("root", type=Path, help="folder with the folders normal, benign and malignant")
    parser.add_argument("--output", type=Path, required=True, help="folder for index.html and the rest")
    parser.add_argument(
        "--cache", type=Path, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )
    arguments = parser.parse_args()
    cache_dir = arguments.cache or default_cache_dir()
    write_audit(arguments.root, arguments.output, expand(cache_dir))


if __name__ == "__main__":
    run_command(main)
