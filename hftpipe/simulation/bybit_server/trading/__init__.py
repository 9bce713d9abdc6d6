"""Accounts at the simulated Bybit venue: unified, of spot and linear contracts, and the ways in that trade on them."""
