"""Which store a configuration asks for."""

from collections.abc import Mapping

from hftpipe.app.settings.contract import Store
from hftpipe.app.settings.file_store import FileStore
from hftpipe.app.settings.redis_store import PASSWORD, RedisStore
from hftpipe.config import Config
from hftpipe.config.secrets import secrets_from_env

KINDS = ("file", "redis")


def store_of(config: Config, env: Mapping[str, str]) -> Store:
    """The store of ``[store]``.

    Raises:
        StateError: it cannot be had.
    """
    if config.store.kind == "redis":
        return RedisStore(config, secrets_from_env(env).get(PASSWORD))
    return FileStore(config.pipeline.name)
