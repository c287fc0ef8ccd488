"""What a run says of the machine that it ran on."""

import torch

from busi.runs.provenance import describe_environment


def test_threads_are_those_that_pytorch_computes_with() -> None:
    before = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            assert describe_environment("busi.train")["num_threads"] == number
    finally:
        torch.set_num_threads(before)
