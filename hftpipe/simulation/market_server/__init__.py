"""What simulated crypto venues have in common: the market behind them, its clock, history and certificate, and the process."""
