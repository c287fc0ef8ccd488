"""``python -m busi.audit DATA --output DIR``: describe a data set before anything is trained on it."""

from busi import data, reporting  # load nothing yet, so that --help is fast
from busi.core import (
    add_cache,
    add_data,
    add_output,
    default_cache_dir,
    expand,
    is_there,
    join_labels,
    make_parser,
    parse_trusting,
    run_command,
)


def main() -> None:
    """Parse the arguments and write the audit."""
    parser = make_parser(
        str(__doc__),
        "data/Dataset_BUSI_with_GT --output audit",
        "my_manifest.csv --output audit --labels cancer=malignant",
    )
    add_data(parser, "data")
    add_output(parser)
    add_cache(parser)
    arguments = parse_trusting(parser)
    labels = join_labels(arguments.labels)
    if not is_there(expand(arguments.data)):
        data.find_data(arguments.data)  # soon, where it is no name either
    cache_dir = arguments.cache or default_cache_dir()
    reporting.write_audit(arguments.data, arguments.output, cache_dir, labels)


if __name__ == "__main__":
    run_command(main)
