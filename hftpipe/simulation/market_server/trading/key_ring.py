"""The API keys of a simulated venue: whose they are, and whether they still open anything."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hftpipe.simulation.market_server.trading.accounts import AccountSettings
from hftpipe.simulation.market_server.trading.signatures import PublicKey, hmac_fits


@dataclass(frozen=True)
class Key:
    """One API key.

    Attributes:
        name: as it is sent; account: index of whose it is; fits: whether a payload was signed with it.
        is_ed25519: such a key alone may log a session on.
    """

    name: str
    account: int
    fits: Callable[[str, str], bool]
    is_ed25519: bool


class KeyRing:
    """All API keys of the venue.

    Args:
        accounts: whose.

    Raises:
        ValueError: two accounts have the same key, or a public key that cannot be read.
    """

    def __init__(self, accounts: tuple[AccountSettings, ...]) -> None:
        self._keys: dict[str, Key] = {}
        self._revoked: set[str] = set()
        for index, one in enumerate(accounts):
            self._add(Key(one.key, index, partial(hmac_fits, one.secret), False))
            if one.public_key_id:
                public = PublicKey(one.public_key)
                self._add(Key(one.public_key_id, index, public.fits, public.is_ed25519))

    def _add(self, key: Key) -> None:
        if key.name in self._keys:
            raise ValueError(f"API key {key.name}: given twice; allowed: once")
        self._keys[key.name] = key

    def revoke(self, name: str) -> None:
        """The key opens nothing any more."""
        self._revoked.add(name)

    def restore(self) -> None:
        """All keys open again what they did."""
        self._revoked.clear()

    def find(self, name: str) -> Key | None:
        """The key of this name; None: there is none, or it opens nothing any more."""
        return None if name in self._revoked else self._keys.get(name)

    def account_of(self, name: str) -> int | None:
        """Index of whose key it is, whether or not it is revoked; None: nobody's."""
        key = self._keys.get(name)
        return key.account if key else None
