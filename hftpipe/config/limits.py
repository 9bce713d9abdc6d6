"""What risk limits say together: each is fine alone, and yet one of them is not what somebody meant."""

import difflib
from collections.abc import Collection, Iterator
from decimal import Decimal

from hftpipe.config.checks import Checked
from hftpipe.config.instruments import Instrument
from hftpipe.config.schema import Config, Risk

#: Instruments that are named one by one in warnings.
_MOST_NAMED = 3


def limit_problems(risk: Risk, checked: Checked) -> Iterator[str]:
    """Limits of one table that contradict one another."""
    for table in risk.limits:
        venue, _, symbol = table.rpartition(":")
        limits = risk.for_symbol(symbol, venue)
        order, market = limits.max_order_qty, limits.max_market_order_qty
        own = {"max_order_qty", "max_market_order_qty"} & set(risk.limits[table])
        if own and order is not None and market is not None and market > order:
            name = "max_market_order_qty" if "max_market_order_qty" in own else "max_order_qty"
            given = checked.given("risk", "limits", table, name)
            yield given.refused("max_market_order_qty is above max_order_qty", "max_market_order_qty <= max_order_qty")


def stray_limits(checked: Checked, traded: Collection[str]) -> Iterator[str]:
    """Limits given for this run (environment, command line) of a symbol that it does not trade.

    A file may have tables of symbols that another run trades.
    """
    for path, setting in checked.settings.items():
        if path[:2] != ("risk", "limits") or path[2] in ("default", *traded):
            continue
        if checked.is_of_this_run(setting):
            close = difflib.get_close_matches(path[2], traded, 1)
            hint = f", did you mean risk.limits.{close[0]}.{path[3]}?" if close else ""
            yield setting.refused(f"{path[2]} is not among the instruments{hint}", f"default, {', '.join(traded)}")


def limit_warnings(config: Config) -> Iterator[str]:
    """What may be a mistake, and may be meant: to be said before a run."""
    traded = {one.symbol for one in config.instruments} | {f"{one.venue}:{one.symbol}" for one in config.instruments}
    others = sorted(set(config.risk.limits) - {"default", *traded})
    plain = [one.symbol for one in config.instruments if not _has_own(config, one)]
    if others and plain:
        names = ", ".join(f"risk.limits.{name}" for name in others)
        for symbol in dict.fromkeys(plain[:_MOST_NAMED]):
            yield f"{symbol} has no limits of its own, only those of risk.limits.default; not traded: {names}"
        if len(plain) > _MOST_NAMED:
            yield f"{len(plain) - _MOST_NAMED} more instruments have no limits of their own"
    # Those without limits of their own have the same.
    own = [one for one in config.instruments if _has_own(config, one) or one.symbol == plain[0]]
    for symbol, venue in {(one.symbol, one.venue): None for one in own}:
        limits, table = config.risk.for_symbol(symbol, venue), f"risk.limits.{symbol}"
        most, order = limits.max_position, limits.max_order_qty
        if most is not None and order is not None and most < order:
            yield (
                f"{table}.max_position = {_decimal(most)} is below {table}.max_order_qty = {_decimal(order)}: "
                "no order of that quantity can pass while the position is flat"
            )


def _has_own(config: Config, one: Instrument) -> bool:
    return one.symbol in config.risk.limits or f"{one.venue}:{one.symbol}" in config.risk.limits


def _decimal(units: int) -> str:
    return f"{Decimal(units).scaleb(-8).normalize():f}"
