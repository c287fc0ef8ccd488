"""``python -m busi.split --data DATA --to FORMAT --output DIR``: groups and folds for other frameworks."""

from busi import data, formats  # load nothing yet, so that --help is fast
from busi.core import (
    add_output,
    add_split,
    check_there,
    default_cache_dir,
    join_labels,
    make_parser,
    parse_trusting,
    run_command,
)


def main() -> None:
    """Parse the arguments and write the split."""
    parser = make_parser(
        str(__doc__),
        "--data busi --to nnunet --output nnUNet_raw/Dataset501_BUSI",
        "--data my_manifest.csv --to csv --output folds",
    )
    add_split(parser, 3, "number of folds (default: those that the manifest gives, or 5)")
    parser.add_argument(
        "--to", choices=("csv", "monai", "nnunet"), required=True, help="whose files are written"
    )
    add_output(parser, "the folder; new. For nnU-Net, nnUNet_raw/DatasetNNN_NAME")
    arguments = parse_trusting(parser)
    check_there([arguments.exclude], "a CSV file with the column id")
    formats.check_output(arguments.to, arguments.output)
    found = data.find_data(arguments.data, join_labels(arguments.labels))
    split = data.share_split(
        found,
        cache_dir=arguments.cache or default_cache_dir(),
        num_folds=arguments.num_folds,
        split_seed=arguments.split_seed,
        folds=arguments.folds,
        exclude=arguments.exclude,
        on_bad=arguments.on_bad,
    )
    formats.write_split(split, arguments.to, arguments.output)


if __name__ == "__main__":
    run_command(main)
