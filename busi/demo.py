"""``python -m busi.demo [--run RUN]``: a page on this computer that shows what a model sees in an image."""

import argparse

from busi import inference  # loads nothing yet, so that --help is fast
from busi.core import parse_trusting, path_argument, run_command


def main() -> None:
    """Parse the arguments and serve the page until Ctrl-C, SIGTERM or SIGHUP."""
    parser = argparse.ArgumentParser(prog="python -m busi.demo", description=__doc__)
    parser.add_argument(
        "--run",
        type=path_argument,
        metavar="RUN",
        help="classification run, checkpoint or bundle; without it the model that comes with busi",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=7860,
        help="of 127.0.0.1 (default: 7860); the page opens as 127.0.0.1 or localhost alone: on this computer "
        "or through an SSH tunnel to it",
    )
    arguments = parse_trusting(parser)
    inference.serve_demo(arguments.run or inference.PRETRAINED, arguments.port)


if __name__ == "__main__":
    run_command(main)
