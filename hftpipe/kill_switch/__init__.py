"""The kill switch: a process of its own that halts everything when a person says so, by HTTP, signal, file or command line.

::

    POST /kill ──┐
    SIGUSR2 ─────┤                        ┌─▶ halt cell in shared memory ─▶ gateways: nothing new, everything cancelled
    a file ──────┼─▶ kill() (switch.py) ──┤
    hftpipe kill ┘                        └─▶ the latch in the state folder: so is every later run, until it is reset

It keeps nothing of its own: what it latches is the halt of ``hftpipe halt`` (:mod:`hftpipe.app.halt_latch`).
"""
