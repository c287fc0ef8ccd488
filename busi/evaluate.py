"""``python -m busi.evaluate RUN --data DATA --output DIR``: evaluate a finished run on another data set."""

import argparse
from pathlib import Path

from busi.core import default_cache_dir, parse_trusting, run_command
from busi.reporting import write_report
from busi.training import evaluate


def main() -> None:
    """Parse the arguments, predict, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m busi.evaluate", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument(
        "--data", required=True, help="a folder in the layout of BUSI, a CSV manifest, or busi for $BUSI_ROOT"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for index.html and the rest")
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error", help="unusable files")
    parser.add_argument(
        "--cache", type=Path, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )
    arguments = parse_trusting(parser)
    cache_dir = arguments.cache or default_cache_dir()
    evaluation = evaluate(arguments.run, arguments.data, arguments.output, arguments.on_bad, cache_dir)
    write_report([evaluation.variant], arguments.output, evaluation.title, evaluation.about)


if __name__ == "__main__":
    run_command(main)
