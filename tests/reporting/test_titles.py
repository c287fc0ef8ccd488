"""Titles of pages: every network of the options has a name in words."""

import pytest

from busi.core.building import to_plain
from busi.core.files import conf_dir
from busi.reporting.titles import NETWORKS, enumerate_words, name_data, name_network
from tests.conftest import Compose

MODELS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))


@pytest.mark.parametrize("model", MODELS)
def test_networks_have_names_in_words(compose: Compose, model: str) -> None:
    text = (conf_dir() / "model" / f"{model}.yaml").read_text()
    cls = "stage=cls" in text
    config = compose(f"stage={'cls' if cls else 'seg'}", f"model={model}")
    kind, encoder = name_network(to_plain(config.model)["network"])
    assert kind in NETWORKS.values()
    assert kind.startswith("classifier") == cls
    assert encoder == ("" if model == "unet_plain" else config.encoder)


def test_a_network_of_ones_own_has_the_name_of_its_class() -> None:
    assert name_network({"_target_": "my_package.Net", "width": 3}) == ("Net", "")


def test_data_is_named_as_its_authors_do() -> None:
    assert name_data(["busi"]) == "BUSI"
    assert name_data(["busi", "busbra", "my_clinic", "busi"]) == "BUSI, BUS-BRA and my_clinic"
    assert enumerate_words([]) == ""
