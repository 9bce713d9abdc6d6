"""Accounts that trade at a simulated venue, whichever it is: their orders in the matching books, what they have, who hears of it."""
