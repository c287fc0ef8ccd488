"""``python -m busi.predict INPUT... --output DIR [--run RUN]``: masks and diagnoses of files."""

from busi import inference  # loads nothing yet, so that --help is fast
from busi.core import add_output, check_there, make_parser, parse_trusting, path_argument, run_command
from busi.models import TTA


def main() -> None:
    """Parse the arguments and predict; status 1 if a file could not be used."""
    parser = make_parser(
        str(__doc__),
        "scan.png --output predictions",
        "scans/ 'more/*.dcm' --output predictions --run outputs/cls/2026-01-31_12-00-00 --tta flip",
        "study/ --output predictions --dicom-seg --dicom-sr",
    )
    parser.add_argument("input", nargs="+", metavar="INPUT", help="files, folders, or patterns in quotes")
    parser.add_argument(
        "--run",
        type=path_argument,
        action="append",
        metavar="RUN",
        help="run of either stage, checkpoint or bundle, without it the model that comes with busi; given "
        "several times, they are averaged. A segmentation run gives masks alone",
    )
    add_output(parser, "folder for the results")
    parser.add_argument("--tta", choices=TTA, default="none", help="average over mirror images")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (default: 8)")
    parser.add_argument(
        "--header",
        nargs="+",
        default=[],
        metavar="KEYWORD",
        help="DICOM header elements to copy into the tables, e.g. PatientID; without it none is",
    )
    parser.add_argument(
        "--dicom-seg",
        action="store_true",
        help="write a DICOM segmentation for each DICOM file. It holds the patient and study of that file, "
        "whatever --header says",
    )
    parser.add_argument(
        "--dicom-sr",
        action="store_true",
        help="write a DICOM structured report of the measurements and probabilities, and the segmentation "
        "that it refers to; with patient and study, as --dicom-seg",
    )
    arguments = parse_trusting(parser)
    check_there(arguments.run or [], "a run folder, a .ckpt file, or an exported bundle")
    inference.predict_files(
        arguments.input,
        arguments.output,
        runs=arguments.run,
        tta=arguments.tta,
        batch_size=arguments.batch_size,
        header=arguments.header,
        dicom=inference.DICOM_FOLDERS[: 2 if arguments.dicom_sr else 1 if arguments.dicom_seg else 0],
    )


if __name__ == "__main__":
    run_command(main)
