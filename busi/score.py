"""``python -m busi.score SUBMISSION... --data DATA --output DIR``: score what any tool predicted."""

from busi import data, evaluation  # load nothing yet, so that --help is fast
from busi.core import (
    check_there,
    default_cache_dir,
    make_parser,
    parse_trusting,
    path_argument,
    run_command,
    whole_argument,
)


def main() -> None:
    """Parse the arguments and score."""
    parser = make_parser(
        str(__doc__),
        "nnUNet_results/Dataset501_BUSI/nnUNetTrainer__nnUNetPlans__2d --data busi --output score",
        "theirs/submission.json outputs/crossval --data folds/manifest.csv --output score",
    )
    parser.add_argument(
        "submissions",
        type=path_argument,
        nargs="+",
        metavar="SUBMISSION",
        help="a folder of masks, a table of class probabilities, a submission.json, or run folders",
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
        "--num-folds",
        type=whole_argument(1, 1000),
        metavar="K",
        help="folds of images whose submission states none; 1 for one model of all (default: those that the "
        "manifest gives, or 5)",
    )
    parser.add_argument("--split-seed", type=whole_argument(0, 2**32 - 1), default=0, help="of these folds")
    parser.add_argument(
        "--folds",
        choices=("grouped", "published"),
        help="folds of our own, or those of the data (default: those that a manifest gives, else our own)",
    )
    parser.add_argument("--partial", action="store_true", help="score fewer folds than there are")
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error", help="unusable files")
    parser.add_argument(
        "--cache", type=path_argument, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )
    arguments = parse_trusting(parser)
    check_there(arguments.submissions, "predictions: masks, a table, a submission.json, or a run folder")
    data.find_data(arguments.data)  # soon, where it is none
    evaluation.score_submissions(
        arguments.submissions,
        arguments.data,
        arguments.output,
        cache_dir=arguments.cache or default_cache_dir(),
        num_folds=arguments.num_folds,
        split_seed=arguments.split_seed,
        folds=arguments.folds,
        on_bad=arguments.on_bad,
        partial=arguments.partial,
    )


if __name__ == "__main__":
    run_command(main)
