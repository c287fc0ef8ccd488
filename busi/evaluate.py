"""``python -m busi.evaluate [MODEL] --data DATA --output DIR``: any finished model on any data."""

import argparse

from busi import evaluation  # loads nothing yet, so that --help is fast
from busi.core import default_cache_dir, parse_trusting, path_argument, run_command


def main() -> None:
    """Parse the arguments and evaluate."""
    parser = argparse.ArgumentParser(prog="python -m busi.evaluate", description=__doc__)
    parser.add_argument(
        "model",
        type=path_argument,
        nargs="?",
        metavar="MODEL",
        help="run folder, ensemble or bundle (default: the model that comes with busi)",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="a name (busi, busbra), a folder in the layout of one, or a CSV manifest",
    )
    parser.add_argument(
        "--output",
        type=path_argument,
        required=True,
        metavar="DIR",
        help="folder for index.html and the rest",
    )
    parser.add_argument(
        "--calibrate-on",
        metavar="PART",
        help="calibrate on this part, measure on the rest: a share of the patients (0.2), or a CSV manifest",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draw of a share, and of the learning curve"
    )
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error", help="unusable files")
    parser.add_argument(
        "--cache", type=path_argument, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )
    arguments = parse_trusting(parser)
    evaluation.evaluate(
        arguments.model,
        arguments.data,
        arguments.output,
        cache_dir=arguments.cache or default_cache_dir(),
        on_bad=arguments.on_bad,
        calibrate_on=arguments.calibrate_on,
        seed=arguments.seed,
    )


if __name__ == "__main__":
    run_command(main)
