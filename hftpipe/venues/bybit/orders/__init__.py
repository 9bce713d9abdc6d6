"""Orders at Bybit, spot and linear: how they are said, and what its answers and topics mean."""
