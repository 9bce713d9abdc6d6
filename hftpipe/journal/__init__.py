"""The write-ahead journal: every request before it is sent, every report before it is passed on.

``layout`` says what is in a file, ``append`` writes (compiled, in the gateway), ``files`` and ``keeper`` provide files beside
it, ``reading`` and ``recovery`` judge what is found at a start, ``fold`` makes orders and positions of it again, ``query`` and
``export`` answer people.
"""
