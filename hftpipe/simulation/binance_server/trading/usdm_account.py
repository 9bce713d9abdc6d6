"""USD-M: what an account has and how it is set up, as its requests and those of clients ask for it. One-way, cross margin."""

from typing import Any

from hftpipe.simulation.binance_server.answers import Answers, Refused, number_in
from hftpipe.simulation.binance_server.trading.params import Params, choice_in
from hftpipe.simulation.binance_server.trading.refused import missing
from hftpipe.simulation.binance_server.trading.settings import TradingRules
from hftpipe.simulation.binance_server.trading.usdm_books import UsdmTrader
from hftpipe.simulation.binance_server.trading.usdm_payloads import ONE_WAY, money
from hftpipe.simulation.market_server.symbols import Symbol
from hftpipe.simulation.market_server.text import decimal_text

_SCALE = 10**8
_MOST_LEVERAGE = 125
_MAINTENANCE = 400_000
_MOST_NOTIONAL = "100000000"
_DONE = {"code": 200, "msg": "success"}


class UsdmAccount:
    """The requests of USD-M that are about the account.

    Args:
        answers: of the market; symbols: it lists; rules: fees.
    """

    def __init__(self, answers: Answers, symbols: list[Symbol], rules: TradingRules) -> None:
        self._answers, self._symbols, self._rules = answers, symbols, rules

    # What it has.

    def _amounts(self, trader: UsdmTrader, asset: str) -> tuple[int, int, int, int]:
        """Wallet, unrealized profit, margin of positions, margin of orders."""
        ledger = trader.ledger
        return ledger.wallets.get(asset, 0), ledger.unrealized(asset), *ledger.used(asset, trader.orders)

    def _asset(self, trader: UsdmTrader, asset: str) -> dict[str, Any]:
        wallet, profit, held, asked = self._amounts(trader, asset)
        free = trader.ledger.available(asset, trader.orders)
        return {
            "asset": asset, "walletBalance": money(wallet), "unrealizedProfit": money(profit),
            "marginBalance": money(wallet + profit), "maintMargin": money(self._maintenance(trader, asset)),
            "initialMargin": money(held + asked), "positionInitialMargin": money(held),
            "openOrderInitialMargin": money(asked), "crossWalletBalance": money(wallet),
            "crossUnPnl": money(profit), "availableBalance": money(free), "maxWithdrawAmount": money(free),
            "marginAvailable": True, "updateTime": self._answers.now_ms(),
        }  # fmt: skip

    def _notional(self, trader: UsdmTrader, index: int) -> int:
        return trader.ledger.mark(index) * trader.ledger.position(index).qty // _SCALE

    def _maintenance(self, trader: UsdmTrader, asset: str) -> int:
        held = [
            index
            for index, quote in enumerate(trader.ledger.quotes)
            if quote == asset and index in trader.ledger.positions
        ]
        return sum(abs(self._notional(trader, index)) * _MAINTENANCE // _SCALE for index in held)

    def _shown(self, trader: UsdmTrader, params: Params) -> list[Symbol]:
        """Symbols with a position or orders, of those that are asked for."""
        asked = [self._answers.symbol_of(params)] if params.get("symbol") else self._symbols
        return [
            one for one in asked
            if trader.orders.open.get(one.index)
            or (one.index in trader.ledger.positions and trader.ledger.positions[one.index].qty)
        ]  # fmt: skip

    def _position(self, trader: UsdmTrader, symbol: Symbol) -> dict[str, Any]:
        ledger, held = trader.ledger, trader.ledger.position(symbol.index)
        mark, (own, added) = ledger.mark(symbol.index), ledger.margin(symbol.index, trader.orders)
        notional, entry = self._notional(trader, symbol.index), money(held.entry_price)
        return {
            "symbol": symbol.name, "positionSide": ONE_WAY, "positionAmt": symbol.decimals.qty_text(held.qty),
            "entryPrice": entry, "breakEvenPrice": entry, "markPrice": money(mark),
            "unRealizedProfit": money(held.unrealized(mark)), "unrealizedProfit": money(held.unrealized(mark)),
            "liquidationPrice": "0", "isolatedMargin": "0", "notional": money(notional),
            "marginAsset": ledger.quotes[symbol.index], "isolatedWallet": "0", "initialMargin": money(own + added),
            "maintMargin": money(abs(notional) * _MAINTENANCE // _SCALE), "positionInitialMargin": money(own),
            "openOrderInitialMargin": money(added), "adl": 0, "bidNotional": "0", "askNotional": "0",
            "leverage": str(held.leverage), "marginType": held.margin_type, "isolated": False,
            "maxNotionalValue": _MOST_NOTIONAL, "updateTime": held.updated_ms,
        }  # fmt: skip

    def positions(self, trader: UsdmTrader, params: Params) -> Any:
        """``positionRisk``: symbols with a position or orders."""
        return [self._position(trader, one) for one in self._shown(trader, params)]

    def all_positions(self, trader: UsdmTrader, params: Params) -> Any:
        """``positionRisk`` of version 2: all symbols."""
        asked = [self._answers.symbol_of(params)] if params.get("symbol") else self._symbols
        return [self._position(trader, one) for one in asked]

    def balances(self, trader: UsdmTrader, params: Params) -> Any:
        """``balance``."""
        rows = []
        for asset in sorted(trader.ledger.wallets):
            row = self._asset(trader, asset)
            rows.append({
                "accountAlias": f"sim{trader.owner}", "asset": asset, "balance": row["walletBalance"],
                "crossWalletBalance": row["walletBalance"], "crossUnPnl": row["crossUnPnl"],
                "availableBalance": row["availableBalance"], "maxWithdrawAmount": row["maxWithdrawAmount"],
                "marginAvailable": True, "updateTime": row["updateTime"],
            })  # fmt: skip
        return rows

    def account(self, trader: UsdmTrader, params: Params) -> Any:
        """``account``: sums over all margin assets, which are taken to be worth one another."""
        assets = [self._asset(trader, asset) for asset in sorted(trader.ledger.wallets)]
        amounts = [self._amounts(trader, asset) for asset in sorted(trader.ledger.wallets)]
        wallet, profit, held, asked = (sum(column) for column in zip(*amounts, strict=True))
        free = sum(trader.ledger.available(asset, trader.orders) for asset in trader.ledger.wallets)
        maintenance = sum(self._maintenance(trader, asset) for asset in trader.ledger.wallets)
        return {
            "feeTier": 0, "canTrade": True, "canDeposit": False, "canWithdraw": False, "feeBurn": False,
            "tradeGroupId": -1, "updateTime": 0, "multiAssetsMargin": False,
            "totalInitialMargin": money(held + asked), "totalMaintMargin": money(maintenance),
            "totalWalletBalance": money(wallet), "totalUnrealizedProfit": money(profit),
            "totalMarginBalance": money(wallet + profit), "totalPositionInitialMargin": money(held),
            "totalOpenOrderInitialMargin": money(asked), "totalCrossWalletBalance": money(wallet),
            "totalCrossUnPnl": money(profit), "availableBalance": money(free), "maxWithdrawAmount": money(free),
            "assets": assets, "positions": [self._position(trader, one) for one in self._shown(trader, params)],
        }  # fmt: skip

    # How it is set up.

    def commission(self, trader: UsdmTrader, params: Params) -> Any:
        """Fees of a symbol."""
        maker, taker = (decimal_text(value, 6) for value in (self._rules.maker_fee, self._rules.taker_fee))
        return {
            "symbol": self._answers.symbol_of(params).name, "makerCommissionRate": maker,
            "takerCommissionRate": taker, "rpiCommissionRate": "0",
        }  # fmt: skip

    def set_leverage(self, trader: UsdmTrader, params: Params) -> Any:
        """Leverage of a symbol."""
        symbol, leverage = self._answers.symbol_of(params), number_in(params, "leverage")
        if leverage is None:
            raise missing("leverage")
        if not 1 <= leverage <= _MOST_LEVERAGE:
            raise Refused(-4028, f"Leverage {leverage} is not valid")
        held = trader.ledger.position(symbol.index)
        before, held.leverage = held.leverage, leverage
        if leverage < before and not trader.ledger.available(trader.ledger.quotes[symbol.index], trader.orders):
            held.leverage = before
            raise Refused(-2019, "Margin is insufficient.")
        return {"symbol": symbol.name, "leverage": leverage, "maxNotionalValue": _MOST_NOTIONAL}

    def set_margin_type(self, trader: UsdmTrader, params: Params) -> Any:
        """Cross is all there is."""
        self._answers.symbol_of(params)
        text = "Invalid marginType."
        if choice_in(params, "marginType", ("ISOLATED", "CROSSED"), -4045, text) == "CROSSED":
            raise Refused(-4046, "No need to change margin type.")
        raise Refused(-4045, "Isolated margin is not served by the simulated venue.")

    def set_position_mode(self, trader: UsdmTrader, params: Params) -> Any:
        """One-way is all there is."""
        if choice_in(params, "dualSidePosition", ("true", "false"), -1130, "Invalid dualSidePosition.") == "false":
            raise Refused(-4059, "No need to change position side.")
        raise Refused(-4061, "Hedge mode is not served by the simulated venue.")

    def position_mode(self, trader: UsdmTrader, params: Params) -> Any:
        """One-way."""
        return {"dualSidePosition": False}

    def assets_mode(self, trader: UsdmTrader, params: Params) -> Any:
        """Each margin asset for itself."""
        return {"multiAssetsMargin": False}

    def account_config(self, trader: UsdmTrader, params: Params) -> Any:
        """How the account is set up."""
        return {
            "feeTier": 0, "canTrade": True, "canDeposit": False, "canWithdraw": False, "dualSidePosition": False,
            "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1,
        }  # fmt: skip

    def symbol_config(self, trader: UsdmTrader, params: Params) -> Any:
        """How its symbols are."""
        asked = [self._answers.symbol_of(params)] if params.get("symbol") else self._symbols
        return [
            {"symbol": one.name, "marginType": "CROSSED", "isAutoAddMargin": False,
             "leverage": trader.ledger.position(one.index).leverage, "maxNotionalValue": _MOST_NOTIONAL}
            for one in asked
        ]  # fmt: skip

    def brackets(self, trader: UsdmTrader, params: Params) -> Any:
        """One bracket for every symbol."""
        one = {
            "bracket": 1, "initialLeverage": _MOST_LEVERAGE, "notionalCap": int(_MOST_NOTIONAL), "notionalFloor": 0,
            "maintMarginRatio": _MAINTENANCE / _SCALE, "cum": 0.0,
        }  # fmt: skip
        if params.get("symbol"):
            return [{"symbol": self._answers.symbol_of(params).name, "brackets": [one]}]
        return [{"symbol": symbol.name, "brackets": [one]} for symbol in self._symbols]
