"""What a run has made of the settings that were changed while it goes on: written by its supervisor, read by whoever changed them."""

import numpy as np

LONGEST_REASON = 232
#: ``in_force``: number (:func:`hftpipe.app.settings.contract.number_of`) of what is kept and in force; ``refused``: of what the run has
#: refused last, and why (UTF-8).
SETTINGS = np.dtype(
    [("in_force", "u8"), ("refused", "u8"), ("_pad", "u8"), ("reason", f"S{LONGEST_REASON}")], align=True
)
assert SETTINGS.itemsize == 256
