"""WebSocket connections (RFC 6455) as a client: opened by a library, read by compiled code."""
