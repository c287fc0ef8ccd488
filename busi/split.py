"""``python -m busi.split --data DATA --to FORMAT --output DIR``: groups and folds for other frameworks."""

from busi import data, formats  # load nothing yet, so that --help is fast
from busi.core import (
    check_there,
    default_cache_dir,
    expand,
    make_parser,
    parse,
    path_argument,
    run_command,
    whole_argument,
)


def main() -> None:
    """Parse the arguments and write the split."""
    parser = make_parser(
        str(__doc__),
        "--data busi --to nnunet --output nnUNet_raw/Dataset501_BUSI",
        "--data my_manifest.csv --to csv --output folds",
    )
    parser.add_argument(
        "--data",
        required=True,
        help="a name (busi, busbra), a folder in the layout of one, or a CSV manifest",
    )
    parser.add_argument(
        "--to", choices=("csv", "monai", "nnunet"), required=True, help="whose files are written"
    )
    parser.add_argument(
        "--output",
        type=path_argument,
        required=True,
        metavar="DIR",
        help="the folder; new. For nnU-Net, nnUNet_raw/DatasetNNN_NAME",
    )
    parser.add_argument(
        "--num-folds",
        type=whole_argument(3, 1000),
        metavar="K",
        help="number of folds (default: those that the manifest gives, or 5)",
    )
    parser.add_argument("--split-seed", type=whole_argument(0, 2**32 - 1), default=0, help="of the folds")
    parser.add_argument(
        "--folds",
        choices=("grouped", "published"),
        help="folds of our own, or those of the data (default: those that a manifest gives, else our own)",
    )
    parser.add_argument(
        "--exclude", type=path_argument, help="a CSV file with the column id: more images to leave out"
    )
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error", help="unusable files")
    parser.add_argument(
        "--cache", type=path_argument, help="folder for decoded data (default: $BUSI_CACHE or ~/.cache/busi)"
    )
    arguments = parse(parser)
    check_there([arguments.exclude], "a CSV file with the column id")
    formats.check_output(arguments.to, expand(arguments.output))
    found = data.find_data(arguments.data)
    split = data.share_split(
        found,
        cache_dir=expand(arguments.cache or default_cache_dir()),
        num_folds=arguments.num_folds,
        split_seed=arguments.split_seed,
        folds=arguments.folds,
        exclude=arguments.exclude and expand(arguments.exclude),
        on_bad=arguments.on_bad,
    )
    formats.write_split(split, arguments.to, expand(arguments.output))


if __name__ == "__main__":
    run_command(main)
