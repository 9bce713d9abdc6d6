"""What comparisons of the run with its venue count."""

import numpy as np

from hftpipe.core.schema.counters import table

COUNTERS = table("""
  compared           comparisons of orders, executions and holdings with the venue's, from end to end
~ put_off            comparisons put off, for what the venue may be asked is needed elsewhere
~ unanswered         comparisons that a question without an answer has ended
~ unsettled          holdings left out of a comparison, for something about them was under way
* overdue            times that no comparison came to its end for ten times as long as there should be between two
* missed             executions that the venue has and the run had not: their orders are asked about, and they are booked
? unshown            executions that the run has and the venue does not show
* unlisted           open orders of the run that the venue does not list: they are asked about
* unknown            orders under ids of ours that rest at the venue, and not here: they are asked about and cancelled
~ external_orders    open orders of others in the instruments of the run
~ external_cancels   of these, cancelled
? positions_off      times that a position was found, or changed, to differ from the run's
? balances_off       the same of another balance
? blind              times that what the run has was no longer known here: nothing more is compared
""")
#: One array of them is one account's.
RECONCILE = np.dtype([(one.name, "i8") for one in COUNTERS])
