"""``python -m busi.ensemble RUN... --output DIR``: several runs of a fold as one model, by mean logits."""

from busi import training  # loads nothing yet, so that --help is fast
from busi.core import add_output, check_there, make_parser, parse_trusting, path_argument, run_command


def main() -> None:
    """Parse the arguments and make ensembles."""
    parser = make_parser(
        str(__doc__),
        "outputs/cls/seed0 outputs/cls/seed1 --output outputs/ensemble",
        "outputs/sweeps/seeds --output outputs/ensemble --data /moved/Dataset_BUSI_with_GT",
    )
    parser.add_argument(
        "runs", type=path_argument, nargs="+", metavar="RUN", help="run folders, or folders of them"
    )
    add_output(parser, "folder for their run folders")
    parser.add_argument("--data", type=path_argument, help="where the runs' data lies now, if it was moved")
    arguments = parse_trusting(parser)
    check_there(arguments.runs, "a run folder, or a folder of them")
    check_there([arguments.data], "where the runs' data lies now")
    training.ensemble_folders(arguments.runs, arguments.output, arguments.data)


if __name__ == "__main__":
    run_command(main)
