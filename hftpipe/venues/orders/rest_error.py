"""A request to a venue over REST that came to nothing."""


class RestError(OSError):
    """The message says what was asked and what the venue said."""
