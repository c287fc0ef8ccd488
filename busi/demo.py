"""``python -m busi.demo [--run RUN]``: a page on this computer that shows what a model sees in an image."""

from busi import inference, review  # loads nothing yet, so that --help is fast
from busi.core import (
    check_there,
    make_parser,
    parse_trusting,
    path_argument,
    run_command,
    whole_argument,
)


def main() -> None:
    """Parse the arguments and serve the page until Ctrl-C, SIGTERM or SIGHUP."""
    parser = make_parser(
        str(__doc__), "", "--run outputs/cls/2026-01-31_12-00-00 --port 8000", "--review predictions"
    )
    parser.add_argument(
        "--run",
        type=path_argument,
        metavar="RUN",
        help="run of either stage, checkpoint or bundle; without it the model that comes with busi",
    )
    parser.add_argument(
        "--review",
        type=path_argument,
        metavar="FOLDER",
        help="a folder of busi.predict: a page to correct its masks and classes, the most doubtful first",
    )
    parser.add_argument(
        "--save",
        type=path_argument,
        metavar="FOLDER",
        help="with --review: where the corrections and their manifest go (default: review in that folder)",
    )
    parser.add_argument(
        "--corrections",
        type=path_argument,
        metavar="DIR",
        help="a folder: what you upload can be corrected, too, and is kept there with its corrections",
    )
    parser.add_argument(
        "--port",
        type=whole_argument(0, 65535),
        default=7860,
        help="of 127.0.0.1 (default: 7860); the page opens as 127.0.0.1 or localhost alone: on this computer "
        "or through an SSH tunnel to it",
    )
    arguments = parse_trusting(parser)
    check_there([arguments.run], "a run folder, a .ckpt file, or an exported bundle")
    check_there([arguments.review], "a folder that busi.predict has written")
    if arguments.review is None:
        if arguments.save is not None:
            parser.error("--save needs --review FOLDER: predict the images first, with busi.predict")
        run = arguments.run or inference.PRETRAINED
        if arguments.corrections is None:
            inference.serve_demo(run, arguments.port)
        else:
            review.serve_uploads(run, arguments.corrections, arguments.port)
        return
    if arguments.corrections is not None:
        parser.error("--corrections is for images that you upload: with --review, say --save")
    if arguments.run is not None:
        parser.error("--review shows what was predicted already: leave out --run")
    review.serve_review(arguments.review, arguments.save, arguments.port)


if __name__ == "__main__":
    run_command(main)
