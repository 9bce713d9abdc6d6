"""The kind of error that is somebody's to mend: a file, a value, a name. Its message says which, and what is allowed."""


class Refusal(Exception):
    """Nothing was started. The command line shows the message alone and ends with 2."""
