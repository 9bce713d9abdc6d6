"""One exchange of a machine speaks on a line: a second one is refused, and one that runs beside a pipeline takes free ports."""

import errno

import pytest
from ouch_rig import Exchange, free_port, instruments

from hftpipe.config import load
from hftpipe.simulation.exchange_server.itch_exchange import ItchExchange
from hftpipe.simulation.exchange_server.settings import ExchangeConfig
from hftpipe.venues.nasdaq.embedded import embedded_exchange


def lines() -> dict[str, int]:
    return {"port_a": free_port(), "port_b": free_port()}


def test_a_second_exchange_on_a_line_is_refused_by_its_name_and_the_line_is_free_again_after_the_first():
    ports = lines()
    first = Exchange(**ports)
    with pytest.raises(OSError, match=rf"line 239\.192\.0\.1:{ports['port_a']}: another exchange") as refused:
        ItchExchange(ExchangeConfig(instruments(), **ports))
    assert refused.value.errno == errno.EADDRINUSE
    first.stop()
    ItchExchange(ExchangeConfig(instruments(), **ports)).close()


def test_ports_of_lines_that_are_not_given_are_free_ones():
    exchanges = [ItchExchange(ExchangeConfig(instruments(), port_a=0, port_b=0)) for _ in range(2)]
    try:
        assert len({port for one in exchanges for port in (one.port_a, one.port_b)} - {0}) == 4
    finally:
        for one in exchanges:
            one.close()


def test_two_runs_with_the_same_configuration_have_an_exchange_each_and_hear_only_theirs():
    ports = lines()
    config = load([], {}, {"pipeline.venue": "udp", **{f"udp.{name}": str(port) for name, port in ports.items()}})
    rows, made = instruments(1), []
    try:
        for _ in range(2):
            made.append(embedded_exchange(config, rows, print))
        (_, first), (_, second) = made
        assert (first.udp.port_a, first.udp.port_b) == tuple(ports.values()), "as configured, while nobody is there"
        assert {second.udp.port_a, second.udp.port_b}.isdisjoint(ports.values())
        assert (second.udp.port_a, second.udp.port_b) == (made[1][0].exchange.port_a, made[1][0].exchange.port_b)
    finally:
        for exchange, _ in made:
            exchange.stop()
