"""The addresses of venues promise: the same in the package and in configs/network.toml, changed by any layer, refused by name."""

import pickle
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from hftpipe.config import Config, ConfigError, load, network_of, network_toml
from hftpipe.config.network import ENDPOINTS, NETS, Network, endpoint_kinds
from hftpipe.record.replay.rebuild import config_from

FILE = Path(__file__).parents[1] / "configs" / "network.toml"
ALL = [(venue, net, kind) for venue in ENDPOINTS for net in NETS for kind in endpoint_kinds(venue, net)]


def address(network: Network, venue: str, net: str, kind: str) -> str:
    found: str = getattr(getattr(network, venue).of(net), kind)
    return found


def refusal(text: str, folder: Path) -> str:
    path = folder / "my.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load([path], {})
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: network.")
    return line.removeprefix(f"{path}: ")


def test_the_shipped_file_is_the_built_in_addresses_and_is_up_to_date() -> None:
    assert FILE.read_text("utf-8") == network_toml()
    assert load([FILE], {}) == Config()
    assert set(tomllib.loads(network_toml())["network"]) == {one.name for one in fields(Network)} == set(ENDPOINTS)


@pytest.mark.parametrize("place", ALL, ids=".".join)
def test_every_built_in_address_is_one_that_its_key_accepts(place: tuple[str, str, str]) -> None:
    venue, net, kind = place
    built_in = address(Network(), *place)
    assert endpoint_kinds(venue, net)[kind].metadata["kind"].parse(built_in) == built_in
    assert built_in.startswith(("https://", "wss://")), "in the open"


def test_no_address_of_a_test_net_is_one_of_the_main_net() -> None:
    hosts = {net: {address(Network(), *place).split("/")[2] for place in ALL if place[1] == net} for net in NETS}
    assert not hosts["main"] & hosts["test"]


@pytest.mark.parametrize("place", ALL, ids=".".join)
def test_an_address_of_a_later_layer_wins_and_changes_nothing_else(place: tuple[str, str, str], tmp_path: Path) -> None:
    scheme = address(Network(), *place).split(":")[0].removesuffix("s")
    file = tmp_path / "my.toml"
    table = f"[network.{place[0]}.{place[1]}]\n{place[2]} = '{scheme}://127.0.0.1:1'\n"
    file.write_text(table)
    variable = {"HFTPIPE_NETWORK__" + "__".join(place).upper(): f"{scheme}://127.0.0.1:2"}
    key = "network." + ".".join(place)
    for at, layers in enumerate(
        [([file], {}, {}), ([file], variable, {}), ([file], variable, {key: f"{scheme}://127.0.0.1:3"})], 1
    ):
        network = load(*layers).network
        assert address(network, *place) == f"{scheme}://127.0.0.1:{at}"
        assert all(address(network, *one) == address(Network(), *one) for one in ALL if one != place)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rest = 'ftp://host'", "network.bybit.test.rest = 'ftp://host': not of http or https"),
        ("rest = 'wss://host'", "network.bybit.test.rest = 'wss://host': not of http or https"),
        ("rest = 'https://'", "network.bybit.test.rest = 'https://': a user, a query or a last slash is no part of it"),
        ("rest = 'https://:80'", "network.bybit.test.rest = 'https://:80': not an address"),
        ("rest = 'https://host:99999'", "network.bybit.test.rest = 'https://host:99999': not an address"),
        ("rest = 'https://host:0'", "network.bybit.test.rest = 'https://host:0': not an address"),
        ("rest = 'https://ho st'", "network.bybit.test.rest = 'https://ho st': not an address"),
        ("rest = 'https://host/'", "network.bybit.test.rest = 'https://host/': a user, a query or a last slash"),
        ("rest = 7", "network.bybit.test.rest = 7: not a string"),
        ("rset = 'https://host'", "network.bybit.test.rset = 'https://host': unknown key, did you mean network.bybit.test.rest?"),
    ],
)  # fmt: skip
def test_a_wrong_address_names_file_key_value_and_what_is_allowed(line: str, said: str, tmp_path: Path) -> None:
    found = refusal(f"[network.bybit.test]\n{line}\n", tmp_path)
    assert found.startswith(said)
    allowed = '; allowed: rest, spot_streams' if "rset" in line else '; allowed: an address such as "https://host" or'  # fmt: skip
    assert allowed in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[network.bibyt.main]\nrest = 'https://host'", "unknown key, did you mean network.bybit.main.rest?; allowed: binance_spot, binance_usdm, bybit"),
        ("[network.bybit.mian]\nrest = 'https://host'", "unknown key, did you mean network.bybit.main.rest?; allowed: main, test"),
        ("[network]\nbybit = 'https://host'", "this is a table, not a value; allowed: main, test"),
        ("[network.bybit]\nmain = 'https://host'", "this is a table, not a value; allowed: rest, spot_streams"),
    ],
)  # fmt: skip
def test_a_venue_or_net_that_there_is_not_is_refused_with_those_that_there_are(
    text: str, said: str, tmp_path: Path
) -> None:
    assert said in refusal(text, tmp_path)


@pytest.mark.parametrize(
    "written", ["https://me:hunter2@host", "https://host/path?signature=hunter2", "https://me:hunter2/@host"]
)
def test_a_password_in_an_address_is_refused_without_repeating_it(written: str, tmp_path: Path) -> None:
    said = refusal(f"[network.bybit.test]\nrest = '{written}'\n", tmp_path)
    assert "hunter2" not in said and "***" in said
    with pytest.raises(ConfigError) as caught:
        load([], {"HFTPIPE_NETWORK__BYBIT__TEST__REST": written}, {"network.bybit.main.rest": written})
    assert "hunter2" not in str(caught.value) and len(caught.value.problems) == 2


def test_a_net_that_there_is_not_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"net = 'live': no such net; allowed: main, test"):
        Network().bybit.of("live")


def test_a_recorded_configuration_comes_back_with_its_addresses() -> None:
    config = load([], {"HFTPIPE_NETWORK__BINANCE_USDM__TEST__REST": "http://127.0.0.1:8080"})
    assert config_from(config.as_dict()) == config and pickle.loads(pickle.dumps(config)) == config
    assert config.fingerprint() != Config().fingerprint()
    for unknown in ({"nasdaq": {}}, {"bybit": {"live": {}}}, {"bybit": {"test": {"ftp": "x"}}}):
        with pytest.raises(TypeError):
            network_of(unknown)
