"""``python -m busi.predict INPUT... --output DIR [--run RUN]``: masks and diagnoses of files."""

import argparse

from busi import inference  # loads nothing yet, so that --help is fast
from busi.core import parse_trusting, path_argument, run_command
from busi.models import TTA


def main() -> None:
    """Parse the arguments and predict; status 1 if a file could not be used."""
    parser = argparse.ArgumentParser(prog="python -m busi.predict", description=__doc__)
    parser.add_argument("input", nargs="+", metavar="INPUT", help="files, folders, or patterns in quotes")
    parser.add_argument(
        "--run",
        type=path_argument,
        action="append",
        metavar="RUN",
        help="classification run, checkpoint or bundle, without it the model that comes with busi; given "
        "several times, they are averaged",
    )
    parser.add_argument(
        "--output", type=path_argument, required=True, metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--tta", choices=TTA, default="none", help="average over mirror images")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (default: 8)")
    parser.add_argument(
        "--header",
        nargs="+",
        default=[],
        metavar="KEYWORD",
        help="DICOM header elements to copy into the tables, e.g. PatientID; without it none is",
    )
    arguments = parse_trusting(parser)
    inference.predict_files(
        arguments.input,
        arguments.output,
        runs=arguments.run,
        tta=arguments.tta,
        batch_size=arguments.batch_size,
        header=arguments.header,
    )


if __name__ == "__main__":
    run_command(main)
