"""Whose text can be read: the :class:`hftpipe.venues.contract.Codec` of each market, imported (and compiled) only where it is used."""

from collections.abc import Iterable
from importlib import import_module

from hftpipe.core.schema.refusal import Refusal
from hftpipe.venues.contract import Codec

#: Module and object by market.
BUILT_IN = {
    "binance_spot": "hftpipe.venues.binance.codec:CODEC",
    "binance_usdm": "hftpipe.venues.binance.codec:CODEC",
    "bybit_spot": "hftpipe.venues.bybit.codec:CODEC",
    "bybit_linear": "hftpipe.venues.bybit.codec:CODEC",
}


class CodecError(Refusal, ValueError):
    """Nothing here reads the text of a market, or of several at a time; the message names them."""


def _load(place: str) -> Codec:
    module, _, name = place.partition(":")
    codec: Codec = getattr(import_module(module), name)
    return codec


def codecs() -> list[Codec]:
    """All there are."""
    return [_load(place) for place in dict.fromkeys(BUILT_IN.values())]


def codec_of(markets: Iterable[str]) -> Codec:
    """The one that reads the text of all these markets.

    Raises:
        CodecError: there is none.
    """
    names = dict.fromkeys(markets)
    places = {BUILT_IN.get(name, "") for name in names}
    if len(places) != 1 or "" in places:
        raise CodecError(f"no reader of captures of {', '.join(names)} together; each of {', '.join(BUILT_IN)} has one")
    return _load(places.pop())
