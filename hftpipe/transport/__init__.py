"""How bytes come and go: streams, WebSocket frames. Knows no venue."""
