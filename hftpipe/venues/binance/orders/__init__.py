"""Orders at Binance, spot and USD-M: how they are said, and what its answers and events mean."""
