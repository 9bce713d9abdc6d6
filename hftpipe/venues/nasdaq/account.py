"""The account that orders are sent under."""

import os

from hftpipe.config import secrets_from_env


def ouch_password() -> str:
    """The password of the order account, from HFTPIPE_SECRET_OUCH_PASSWORD; empty if there is none."""
    secret = secrets_from_env(os.environ).get("ouch_password")
    return secret.reveal() if secret else ""
