"""How venues are reached: one folder a protocol. It knows nothing of any venue's markets."""
