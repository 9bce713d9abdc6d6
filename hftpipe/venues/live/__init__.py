"""Live market data over WebSocket connections, for any venue whose text a codec reads."""
