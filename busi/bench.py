"""``python -m busi.bench``: how close this machine comes to what it could do, as ratios."""

from busi import benchmarks  # loads nothing yet, so that --help is fast
from busi.core import make_parser, parse, path_argument, run_command


def main() -> None:
    """Parse the arguments, measure, and print a table."""
    parser = make_parser(str(__doc__), "", "--only predict --json speed.json")
    parser.add_argument(
        "--only",
        choices=(*benchmarks.GROUPS, *benchmarks.SLOW_GROUPS),
        help=f"one group; {', '.join(benchmarks.SLOW_GROUPS)} are measured by name only",
    )
    parser.add_argument(
        "--image-size", type=int, default=256, help="side of the images, in pixels (default: 256)"
    )
    parser.add_argument("--rounds", type=int, help="repetitions, in turns (default: as many as it needs)")
    parser.add_argument("--json", type=path_argument, help="write the numbers here too")
    arguments = parse(parser)
    benchmarks.run_groups(arguments.only, arguments.image_size, arguments.rounds, arguments.json)


if __name__ == "__main__":
    run_command(main)
