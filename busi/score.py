"""``python -m busi.score SUBMISSION... --data DATA --output DIR``: score what any tool predicted."""

from busi import data, submissions  # load nothing yet, so that --help is fast
from busi.core import (
    add_output,
    add_split,
    check_there,
    default_cache_dir,
    join_labels,
    make_parser,
    parse_trusting,
    path_argument,
    run_command,
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
    add_split(
        parser,
        1,
        "folds of images whose submission states none; 1 for one model of all (default: those that the "
        "manifest gives, or 5)",
    )
    add_output(parser)
    parser.add_argument("--partial", action="store_true", help="score fewer folds than there are")
    arguments = parse_trusting(parser)
    check_there(arguments.submissions, "predictions: masks, a table, a submission.json, or a run folder")
    check_there([arguments.exclude], "a CSV file with the column id")
    found = data.find_data(arguments.data, join_labels(arguments.labels))
    submissions.score_submissions(
        arguments.submissions,
        found,
        arguments.output,
        cache_dir=arguments.cache or default_cache_dir(),
        num_folds=arguments.num_folds,
        split_seed=arguments.split_seed,
        folds=arguments.folds,
        exclude=arguments.exclude,
        on_bad=arguments.on_bad,
        partial=arguments.partial,
    )


if __name__ == "__main__":
    run_command(main)
