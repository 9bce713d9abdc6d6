"""The configuration: one frozen tree, checked in full before anything starts.

Layers, each over the one before: built-in defaults < TOML files in the order given < `HFTPIPE_*`
environment < command line. `schema.py` says what each key means and accepts; `layers.py` reads the layers,
`checks.py` checks each setting and `loader.py` builds the tree or reports every problem at once. Prices and quantities are decimals in files and int64 (1e-8) in the tree.
"""

from hftpipe.config.defaults import defaults_toml
from hftpipe.config.fields import ConfigError, Table
from hftpipe.config.instruments import Instrument, Universe
from hftpipe.config.kinds import LIVE_MODE, PAPER_MODE, parse_cpus, to_e8
from hftpipe.config.limits import limit_warnings
from hftpipe.config.loader import given_keys, load
from hftpipe.config.network import Network, network_of, network_toml
from hftpipe.config.operator_sections import Log
from hftpipe.config.presets import demo_overrides
from hftpipe.config.schema import (
    Config,
    Journal,
    LimitGroup,
    Limits,
    Pipeline,
    Record,
    Rings,
    Risk,
    Strategy,
    StrategyEntry,
    VenueEntry,
    amount_keys,
)
from hftpipe.config.secrets import Secret, looks_secret, redact, secrets_from_env
from hftpipe.config.venue_sections import Live, Market, Sim, Udp

__all__ = [
    "LIVE_MODE",
    "PAPER_MODE",
    "Config",
    "ConfigError",
    "Instrument",
    "Journal",
    "LimitGroup",
    "Limits",
    "Live",
    "Log",
    "Market",
    "Network",
    "Pipeline",
    "Record",
    "Rings",
    "Risk",
    "Secret",
    "Sim",
    "Strategy",
    "StrategyEntry",
    "Table",
    "Udp",
    "Universe",
    "VenueEntry",
    "amount_keys",
    "defaults_toml",
    "demo_overrides",
    "given_keys",
    "limit_warnings",
    "load",
    "looks_secret",
    "network_of",
    "network_toml",
    "parse_cpus",
    "redact",
    "secrets_from_env",
    "to_e8",
]
