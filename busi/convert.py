"""``python -m busi.convert SOURCE --output DIR``: annotations of other tools to a manifest, and back."""

import argparse

from busi import formats  # loads nothing yet, so that --help is fast
from busi.core import (
    CLASSES,
    InputError,
    add_configs,
    add_output,
    check_there,
    make_parser,
    parse_trusting,
    path_argument,
    read_mapping,
    run_command,
)
from busi.formats import FORMATS, ORIENTATIONS, SPLIT, WRITTEN


def written(text: str) -> str:
    """The type of ``--to``.

    Raises:
        argparse.ArgumentTypeError: If another command writes it.
    """
    if text in SPLIT:
        raise argparse.ArgumentTypeError(
            f"{text}: python -m busi.split --to {text} writes it, with the folds of the data set"
        )
    return text


def main() -> None:
    """Parse the arguments and convert; status 1 if something could not be used."""
    parser = make_parser(
        str(__doc__),
        "instances.json --images scans --labels '{tumor: malignant, cyst: benign}' --output converted",
        "cvat_export.zip --empty normal --output converted",
        "slicer/ --labels '{1: mask}' --sheet cases.xlsx --columns '{image: File, label: Diagnosis}' "
        "--output converted",
        "manifest.csv --to coco --output for_coco",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="file, folder or ZIP of annotations; or, to write another "
        "format, a manifest, the name of a data set (busi), or a folder in a known layout",
    )
    add_output(parser, "folder for the results; new")
    parser.add_argument(
        "--to", type=written, choices=WRITTEN, default="manifest", help="format to write (default: manifest)"
    )
    parser.add_argument(
        "--from",
        dest="source_format",
        choices=tuple(FORMATS),
        help="format of SOURCE, else found by its content",
    )
    parser.add_argument(
        "--labels",
        default="",
        metavar="WORDS",
        help=f"what categories mean, as '{{tumor: malignant}}': one of {', '.join(CLASSES)}, mask (a lesion "
        "whose class is said elsewhere), ignore",
    )
    parser.add_argument("--empty", choices=CLASSES, help="class of images without annotation and class")
    parser.add_argument(
        "--images", type=path_argument, metavar="DIR", help="where the images lie, if elsewhere"
    )
    parser.add_argument(
        "--sheet", type=path_argument, metavar="FILE", help="Excel or CSV table with classes, patients, ..."
    )
    parser.add_argument(
        "--columns",
        default="",
        metavar="NAMES",
        help="what a sheet calls the columns of a manifest, as '{image: File, patient: Case}'",
    )
    parser.add_argument(
        "--orientation",
        choices=ORIENTATIONS,
        help="axes of NIfTI, NRRD and MetaImage: as the header says, in ITK's order, or rows first (default: "
        "header, but for a mask whose header is the unit matrix beside an image whose is not)",
    )
    parser.add_argument("--copy", action="store_true", help="copy images beside the manifest, too")
    add_configs(parser)
    arguments = parse_trusting(parser)
    check_there([arguments.images], "the folder of the images")
    check_there([arguments.sheet], "a table, .xlsx or .csv")
    if arguments.images is not None and not arguments.images.is_dir():
        raise InputError(f"{arguments.images} is no folder: give the folder of the images with --images")
    problems = formats.convert(
        arguments.source,
        arguments.output,
        to=arguments.to,
        source_format=arguments.source_format,
        labels=read_mapping(arguments.labels, "--labels") if arguments.labels else {},
        empty=arguments.empty,
        images=arguments.images,
        sheet=arguments.sheet,
        columns=read_mapping(arguments.columns, "--columns") if arguments.columns else {},
        orientation=arguments.orientation,
        copy=arguments.copy,
    )
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
