"""Figures as a trader reads them: thousands, units, signs and colours. Text in, text out; nothing of the pipeline."""

from rich.text import Text

GOOD, BAD, WARN, QUIET, HEAD = "green", "bold red", "yellow", "dim", "bold"


def plain(value: float, decimals: int = 8) -> str:
    """A number with thousands separated and no zeros behind its last decimal."""
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def price(value: float) -> str:
    """A price; a dash where there is none."""
    return plain(value, 2 if value >= 1000 else 8) if value else "-"


def signed(value: float, decimals: int = 4) -> str:
    """Money with its sign; zero has none."""
    text = f"{value:+,.{decimals}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text


def decimals_of(quote: str) -> int:
    """Decimals that money in a currency is shown with: a coin that is worth thousands has more."""
    return 8 if quote in ("BTC", "ETH", "BNB") else 4


def money(value: float, decimals: int = 4) -> Text:
    """Money with its sign, green or red."""
    text = signed(value, decimals)
    return Text(text, style=GOOD if text[0] == "+" else "red" if text[0] == "-" else "")


def share(part: float, whole: float) -> str:
    """A share as a percentage; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def basis_points(part: float, whole: float) -> str:
    """A share of a value in basis points; a dash of nothing."""
    return f"{signed(10_000 * part / whole, 2)} bps" if whole else "-"


def counts(table: dict[str, int]) -> str:
    """What there is more than none of, the most frequent first."""
    some = sorted(((count, name) for name, count in table.items() if count), reverse=True)
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for count, name in some) or "none"


def microseconds(value_ns: float) -> str:
    """A latency given in ns: three digits that matter, in microseconds."""
    value = value_ns / 1000
    return f"{value:,.3f}" if value < 10 else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
