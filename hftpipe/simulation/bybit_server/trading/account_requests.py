"""Requests about the account: what it has, how it is set up, and what clients ask before they trade. One-way, cross margin."""

from collections.abc import Callable, Mapping
from typing import Any

from hftpipe.simulation.bybit_server.answers import Refused
from hftpipe.simulation.bybit_server.payloads import amount_text
from hftpipe.simulation.bybit_server.trading import payloads as say
from hftpipe.simulation.bybit_server.trading.account import UnifiedAccount
from hftpipe.simulation.bybit_server.trading.ordering import Category, category_in
from hftpipe.simulation.bybit_server.trading.params import Params, choice_in, flag_in, number_in, text_in
from hftpipe.simulation.bybit_server.trading.refused import not_served, wrong
from hftpipe.simulation.bybit_server.trading.settings import LEVERAGE_MOST, TRADING

_SAME_LEVERAGE, _SAME_MODE, _SAME_MARGIN = 110043, 110025, 110026
#: Products of the dead man's switch, and the category each is here.
DCP_PRODUCTS = {"SPOT": "spot", "DERIVATIVES": "linear"}
_DCP_LEAST_S, _DCP_MOST_S = 3, 300
_NOT_ALLOWED = 10005


class AccountRequests:
    """Of the venue.

    Args:
        categories: by name; usd_of: what a coin is worth in dollars, 1e-8; now_ms: the venue's time.
    """

    def __init__(
        self, categories: Mapping[str, Category], usd_of: Callable[[str], int], now_ms: Callable[[], int]
    ) -> None:
        self._categories, self._usd_of, self._now_ms = categories, usd_of, now_ms

    def wallet(self, account: UnifiedAccount, params: Params) -> Any:
        """``wallet-balance``: of some coins, or of all that there are."""
        choice_in(params, "accountType", ("UNIFIED",))
        asked = [name for name in text_in(params, "coin").split(",") if name]
        coins = [name for name in account.coins() if name in asked or (not asked and account.wallet(name))]
        return {"list": [say.wallet_row(account, coins, self._usd_of)]}

    def info(self, account: UnifiedAccount, params: Params) -> Any:
        """How the account is set up."""
        return {
            "unifiedMarginStatus": 6, "marginMode": "REGULAR_MARGIN", "isMasterTrader": False, "spotHedgingStatus": "OFF",
            "dcpStatus": "ON" if account.dcp_s else "OFF", "timeWindow": 0, "smpGroup": 0, "updatedTime": str(self._now_ms()),
        }  # fmt: skip

    def api_key(self, account: UnifiedAccount, params: Params) -> Any:
        """What the key may do."""
        trades = {"ContractTrade": ["Order", "Position"], "Spot": ["SpotTrade"]}
        return {
            "id": str(account.uid), "note": "simulated", "apiKey": "", "readOnly": 0, "secret": "",
            "permissions": trades | {"Wallet": [], "Options": [], "Derivatives": ["DerivativesTrade"], "Exchange": []},
            "ips": ["*"], "type": 1, "deadlineDay": 90, "expiredAt": "2100-01-01T00:00:00Z",
            "createdAt": "2026-01-01T00:00:00Z", "unified": 0, "uta": 1, "userID": account.uid, "inviterID": 0,
            "vipLevel": "No VIP", "mktMakerLevel": "0", "affiliateID": 0, "rsaPublicKey": "", "isMaster": True,
            "parentUid": "0", "kycLevel": "LEVEL_DEFAULT", "kycRegion": "",
        }  # fmt: skip

    def fees(self, account: UnifiedAccount, params: Params) -> Any:
        """``fee-rate``: of a symbol, or of all."""
        name = category_in(params, self._categories)
        own, rules = self._categories[name].asking, TRADING[name]
        asked = [own.symbol(params)] if text_in(params, "symbol") else own.feed.symbols.all
        maker, taker = amount_text(rules.maker_fee), amount_text(rules.taker_fee)
        rows = [{"symbol": one.name, "takerFeeRate": taker, "makerFeeRate": maker} for one in asked]
        return {"category": name, "list": rows}

    def set_leverage(self, account: UnifiedAccount, params: Params) -> Any:
        """Leverage of a contract, the same for both sides."""
        name = category_in(params, {key: one for key, one in self._categories.items() if key == "linear"})
        symbol = self._categories[name].asking.symbol(params)
        buy, sell = (self._leverage(params, key) for key in ("buyLeverage", "sellLeverage"))
        if buy != sell:
            raise wrong("sellLeverage", "the same as buyLeverage: one-way mode")
        held, orders = account.margin.position(symbol.index), account.contracts
        if held.leverage == buy:
            raise Refused(_SAME_LEVERAGE, "Set leverage has not been modified.")
        before, held.leverage = held.leverage, buy
        if buy < before and not account.margin.available(account.margin.quotes[symbol.index], orders):
            held.leverage = before
            raise Refused(110007, "ab not enough for new leverage")
        return {}

    @staticmethod
    def _leverage(params: Params, name: str) -> int:
        text = text_in(params, name).removesuffix(".0").removesuffix(".00")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LEVERAGE_MOST:
            raise wrong(name, f"whole, 1 to {LEVERAGE_MOST}")
        return int(text)

    def switch_mode(self, account: UnifiedAccount, params: Params) -> Any:
        """One-way is all there is."""
        if number_in(params, "mode", 0) == 0:
            raise Refused(_SAME_MODE, "Position mode is not modified")
        raise not_served("mode")

    def switch_isolated(self, account: UnifiedAccount, params: Params) -> Any:
        """Cross margin is all there is."""
        if number_in(params, "tradeMode", 0) == 0:
            raise Refused(_SAME_MARGIN, "Cross/isolated margin mode is not modified")
        raise not_served("tradeMode")

    def set_margin_mode(self, account: UnifiedAccount, params: Params) -> Any:
        """The same of the account."""
        if (
            choice_in(params, "setMarginMode", ("REGULAR_MARGIN", "ISOLATED_MARGIN", "PORTFOLIO_MARGIN"))
            != "REGULAR_MARGIN"
        ):
            raise not_served("setMarginMode")
        return {"reasons": []}

    def set_price_action(self, account: UnifiedAccount, params: Params) -> Any:
        """``set-limit-px-action``: whether a price beyond the limit is moved to it."""
        name = category_in(params, self._categories)
        account.refuses_prices[name] = not flag_in(params, "modifyEnable")
        return {}

    def set_dcp(self, account: UnifiedAccount, params: Params) -> Any:
        """The dead man's switch of a product: after how many seconds without a connection its orders are cancelled."""
        product = choice_in(params, "product", ("OPTIONS", *DCP_PRODUCTS), "OPTIONS")
        if product not in DCP_PRODUCTS:
            raise not_served("product OPTIONS")
        seconds = number_in(params, "timeWindow", 0)
        if not _DCP_LEAST_S <= seconds <= _DCP_MOST_S:
            raise wrong("timeWindow", f"{_DCP_LEAST_S} to {_DCP_MOST_S}")
        if not account.is_dcp_allowed:
            raise Refused(_NOT_ALLOWED, "Permission denied, please check your API key permissions.")
        account.dcp_s[product] = seconds
        return {}

    def dcp(self, account: UnifiedAccount, params: Params) -> Any:
        """How it is set."""
        rows = [
            {"product": product, "dcpStatus": "ON" if product in account.dcp_s else "OFF",
             "timeWindow": str(account.dcp_s.get(product, 10))}
            for product in DCP_PRODUCTS
        ]  # fmt: skip
        return {"dcpInfos": rows}
