"""Settings to start from without any file."""


def demo_overrides() -> dict[str, str | int]:
    """Limits for a paper run without files: those of configs/paper.toml and configs/risk_limits.toml."""
    limits: dict[str, dict[str, str | int]] = {
        "default": {"orders_per_s": 100, "orders_per_min": 3000},
        "BTCUSDT": _caps("0.01", "0.005", "2000", "0.1"),
        "ETHUSDT": _caps("0.1", "0.05", "2000", "1"),
    }
    return {f"risk.limits.{table}.{name}": value for table, keys in limits.items() for name, value in keys.items()}


def _caps(order_qty: str, market_order_qty: str, notional: str, position: str) -> dict[str, str | int]:
    names = ("max_order_qty", "max_market_order_qty", "max_order_notional", "max_position")
    return dict(zip(names, (order_qty, market_order_qty, notional, position), strict=True))
