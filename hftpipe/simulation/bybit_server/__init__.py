"""A simulated Bybit v5 venue: public REST and WebSocket of spot and linear contracts, over the same engine as all simulated venues."""
