"""Settings to start from without any file."""

from typing import Any

DEMO_PARAMS: dict[str, str | float] = {
    "spread_bps": 8.0, "order_size": 0.001, "reprice_threshold": 0.5, "max_inventory": 0.005,
}  # fmt: skip

#: A little more than the limits of the instruments come to together; see configs/risk_limits.toml.
DEMO_CONTROLS: dict[str, str | int] = {
    "max_gross_notional": "25000", "executions_per_min": 6000, "duplicate_window_ms": 5,
}  # fmt: skip


def demo_overrides(strategy: str | None = None) -> dict[str, Any]:
    """Settings for a paper run without files: those of configs/paper.toml and configs/risk_limits.toml.

    Args:
        strategy: the one asked for; the market maker's parameters are left out for any other.
    """
    limits: dict[str, dict[str, str | int]] = {
        "default": {"orders_per_s": 100, "orders_per_min": 6000},
        "BTCUSDT": _caps("0.01", "0.005", "2000", "0.1"),
        "ETHUSDT": _caps("0.1", "0.05", "2000", "1"),
    }
    given: dict[str, Any] = {
        f"risk.limits.{table}.{name}": value for table, keys in limits.items() for name, value in keys.items()
    }
    given |= {f"controls.{name}": value for name, value in DEMO_CONTROLS.items()}
    if strategy in (None, "market_making"):
        given |= {f"strategy.params.{name}": value for name, value in DEMO_PARAMS.items()}
    return given


def _caps(order_qty: str, market_order_qty: str, notional: str, position: str) -> dict[str, str | int]:
    names = ("max_order_qty", "max_market_order_qty", "max_order_notional", "max_position")
    return dict(zip(names, (order_qty, market_order_qty, notional, position), strict=True))
