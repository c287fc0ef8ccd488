"""``python -m busi.ensemble RUN... --output DIR``: several runs of a fold as one model, by mean logits."""

import argparse

from busi.core import parse_trusting, path_argument, run_command
from busi.training import ensemble_folders


def main() -> None:
    """Parse the arguments and make ensembles."""
    parser = argparse.ArgumentParser(prog="python -m busi.ensemble", description=__doc__)
    parser.add_argument(
        "runs", type=path_argument, nargs="+", metavar="RUN", help="run folders, or folders of them"
    )
    parser.add_argument(
        "--output", type=path_argument, required=True, metavar="DIR", help="folder for their run folders"
    )
    parser.add_argument("--data", type=path_argument, help="where the runs' data lies now, if it was moved")
    arguments = parse_trusting(parser)
    ensemble_folders(arguments.runs, arguments.output, arguments.data)


if __name__ == "__main__":
    run_command(main)
