"""Recording: tapes to session files and back, and raw captures. Cold: no stage imports anything from here."""
