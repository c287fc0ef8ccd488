"""``python -m busi.report RUN... --output DIR``: report finished runs, as a page for a reviewer."""

from busi import reporting  # loads nothing yet, so that --help is fast
from busi.core import add_output, check_there, make_parser, parse, path_argument, run_command


def main() -> None:
    """Parse the arguments and write the report."""
    parser = make_parser(
        str(__doc__),
        "outputs/cls/2026-01-31_12-00-00 --output report --partial",
        "outputs/crossval --output report",
    )
    parser.add_argument(
        "runs", type=path_argument, nargs="+", metavar="RUN", help="run folders, or folders of them"
    )
    add_output(parser)
    parser.add_argument("--partial", action="store_true", help="report fewer folds than the split has")
    arguments = parse(parser)
    check_there(arguments.runs, "a run folder, or a folder of them")
    reporting.report_runs(arguments.runs, arguments.output, arguments.partial)


if __name__ == "__main__":
    run_command(main)
