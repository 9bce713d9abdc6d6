"""How venues are reached: streams, TLS, WebSocket and HTTP. It knows nothing of any venue's markets."""
