"""``python -m busi.evaluate [MODEL] --data DATA --output DIR``: any finished model on any data."""

from busi import data, evaluation  # load nothing yet, so that --help is fast
from busi.core import (
    add_data,
    add_output,
    add_reading,
    check_there,
    default_cache_dir,
    expand,
    is_there,
    join_labels,
    make_parser,
    parse_trusting,
    path_argument,
    run_command,
)


def main() -> None:
    """Parse the arguments and evaluate."""
    parser = make_parser(
        str(__doc__),
        "--data my_manifest.csv --output evaluation",
        "outputs/cls/2026-01-31_12-00-00 --data busbra --output evaluation --calibrate-on 0.2",
    )
    parser.add_argument(
        "model",
        type=path_argument,
        nargs="?",
        metavar="MODEL",
        help="run folder, ensemble or bundle (default: the model that comes with busi)",
    )
    add_data(parser)
    add_output(parser)
    parser.add_argument(
        "--calibrate-on",
        metavar="PART",
        help="calibrate on this part, measure on the rest: a share of the images (0.2), about so many "
        "images (200), or a CSV manifest; patients and near-duplicates stay together",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the draw of a part, and of the learning curve"
    )
    add_reading(parser)
    arguments = parse_trusting(parser)
    labels = join_labels(arguments.labels)
    check_there([arguments.model], "a run folder, or an exported bundle")
    check_there([arguments.exclude], "a CSV file with the column id")
    if not is_there(expand(arguments.data)):
        data.find_data(arguments.data)  # soon, where it is no name either
    evaluation.evaluate(
        arguments.model,
        arguments.data,
        arguments.output,
        cache_dir=arguments.cache or default_cache_dir(),
        exclude=arguments.exclude,
        on_bad=arguments.on_bad,
        calibrate_on=arguments.calibrate_on,
        seed=arguments.seed,
        labels=labels,
    )


if __name__ == "__main__":
    run_command(main)
