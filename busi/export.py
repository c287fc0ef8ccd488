"""``python -m busi.export RUN --output DIR``: a run as a bundle that predicts without PyTorch."""

from busi import inference  # loads nothing yet, so that --help is fast
from busi.core import add_output, check_there, make_parser, parse_trusting, path_argument, run_command


def main() -> None:
    """Parse the arguments and export."""
    parser = make_parser(
        str(__doc__),
        "outputs/cls/2026-01-31_12-00-00 --output bundle",
        "outputs/cls/2026-01-31_12-00-00 --output bundle --precision int8",
    )
    parser.add_argument(
        "run",
        type=path_argument,
        metavar="RUN",
        help="run folder of either stage; or a bundle of an older busi, to add what it has seen",
    )
    add_output(parser, "folder of the bundle; new")
    parser.add_argument("--precision", choices=("f32", "f16", "int8"), default="f32", help="of the graph")
    parser.add_argument("--data", type=path_argument, help="where the run's data lies now, if it was moved")
    arguments = parse_trusting(parser)
    check_there([arguments.run], "a run folder, or an exported bundle")
    check_there([arguments.data], "where the run's data lies now")
    inference.write_bundle(arguments.run, arguments.output, arguments.precision, arguments.data)


if __name__ == "__main__":
    run_command(main)
