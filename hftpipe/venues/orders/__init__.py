"""Orders at a venue that is reached over WebSocket and REST: what is common to all such venues.

::

    gateway ─▶ requests: template, signature, frame ─▶ venue
    gateway ◀─ reports ◀─ facts: what the venue said of an order ◀─ its answers, its events (compiled), REST (account.py)
"""
