"""Limits and parameters that are set while a pipeline runs, kept until they are taken back.

::

    PUT /risk/params ─▶ store (a file, or Redis) ─▶ looked at by the run ─▶ checked with all else ─▶ risk, strategies
    HSET in Redis ────▶

They are laid over files, environment and command line, also at the next start: what was tightened in a hurry is not loose again after a
restart.
"""
