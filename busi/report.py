"""``python -m busi.report RUN... --output DIR``: report finished runs, as a page for a reviewer."""

import argparse

from busi.core import path_argument, run_command
from busi.reporting import report_runs


def main() -> None:
    """Parse the arguments and write the report."""
    parser = argparse.ArgumentParser(prog="python -m busi.report", description=__doc__)
    parser.add_argument(
        "runs", type=path_argument, nargs="+", metavar="RUN", help="run folders, or folders of them"
    )
    parser.add_argument(
        "--output", type=path_argument, required=True, help="folder for index.html and the rest"
    )
    parser.add_argument("--partial", action="store_true", help="report fewer folds than the split has")
    arguments = parser.parse_args()
    report_runs(arguments.runs, arguments.output, arguments.partial)


if __name__ == "__main__":
    run_command(main)
