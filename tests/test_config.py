"""The configuration promises: layered, exact, frozen, and clear about everything it refuses."""

import dataclasses
import pickle
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hftpipe.config import (
    Config,
    ConfigError,
    Secret,
    Table,
    defaults_toml,
    demo_overrides,
    limit_warnings,
    load,
    parse_cpus,
    secrets_from_env,
    to_e8,
)
from hftpipe.config.checks import known_keys

CONFIGS = Path(__file__).parents[1] / "configs"
CAPS = ("max_order_qty", "max_market_order_qty", "max_order_notional", "max_position")


def write(folder: Path, text: str, name: str = "my.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def refusal(files=(), env=None, overrides=None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(files, env or {}, overrides)
    return str(caught.value)


# --- defaults -----------------------------------------------------------------------------------------


def test_no_layer_gives_the_built_in_defaults():
    assert load([], {}) == Config()


def test_default_toml_is_the_built_in_defaults():
    assert load([CONFIGS / "default.toml"], {}) == Config()


def test_default_toml_documents_every_key_and_is_up_to_date():
    assert (CONFIGS / "default.toml").read_text("utf-8") == defaults_toml()
    tree = tomllib.loads(defaults_toml())
    assert "# [[venues]]" in defaults_toml() and "# [[universe]]" in defaults_toml()
    assert "# [[strategies]]" in defaults_toml() and "# [[limit_groups]]" in defaults_toml()
    for key in known_keys():
        if key in ("venues", "universe", "strategies", "limit_groups") or key.startswith("network."):
            continue
        *tables, name = key.split(".")
        node = tree
        for table in tables:
            node = node[table]
        assert name in node or (name in CAPS and f"# {name} = " in defaults_toml()), key


def test_defaults_toml_states_a_default_and_what_is_allowed_for_every_key():
    lines = defaults_toml().splitlines()
    for at, line in enumerate(lines):
        if re.match(r"(# )?[a-z0-9_]+ = [^N]", line):
            assert lines[at - 1].startswith("#   Allowed: ") and lines[at - 2].startswith("# "), line


def test_prices_and_quantities_are_int64_in_units_of_1e_8():
    one = Config().instruments[0]
    assert (one.tick_size, one.lot_size, one.min_notional) == (10_000_000, 100_000, 500_000_000)
    assert one.reference_price == 60_000 * 10**8
    assert (one.maker_fee_bps, one.maker_fee_e8, one.taker_fee_e8) == (Decimal(2), 20_000, 50_000)


def test_the_tree_is_frozen_hashable_and_picklable():
    cfg = load([], {}, {"strategy.params.depth": 3})
    with pytest.raises(dataclasses.FrozenInstanceError):
        cfg.market.speed = "max"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(cfg)) == cfg
    assert hash(cfg) == hash(load([], {}, {"strategy.params.depth": 3}))


# --- layers -------------------------------------------------------------------------------------------


def test_later_files_then_environment_then_command_line_win(tmp_path):
    first = write(tmp_path, "[market]\ntimer_ms = 1\nseed = 1\nbook_levels = 101\nwindow_records = 17", "a.toml")
    second = write(tmp_path, "[market]\ntimer_ms = 2\nseed = 2\nbook_levels = 102", "b.toml")
    env = {
        "HFTPIPE_MARKET__TIMER_MS": "3",
        "HFTPIPE_MARKET__SEED": "3",
        "PATH": "/",
        "HFTPIPE_CACHE_DIR": "/",
    }
    market = load([first, second], env, {"market.timer_ms": 4}).market
    assert (market.timer_ms, market.seed, market.book_levels, market.window_records) == (4, 3, 102, 17)


def test_environment_values_are_read_by_the_type_of_the_key():
    env = {
        "HFTPIPE_MARKET__SPEED": "10",
        "HFTPIPE_MARKET__EVENT_RATE_PER_S": "1e3",
        "HFTPIPE_PIPELINE__METRICS": "false",
        "HFTPIPE_PIPELINE__PROCESSES": "2",
        "HFTPIPE_RISK__LIMITS__BTCUSDT__MAX_POSITION": "0.1",
        "HFTPIPE_RISK__LIMITS__DEFAULT__ORDERS_PER_S": "7",
        "HFTPIPE_STRATEGY__PARAMS__SPREAD_BPS": "2.5",
        "HFTPIPE_STRATEGY__PARAMS__LABEL": "slow",
        "HFTPIPE_INSTRUMENTS": '[{symbol = "ETHUSDT", tick_size = "0.01", lot_size = "0.001", '
        'min_notional = "20", reference_price = "3000"}]',
    }
    cfg = load([], env)
    assert (cfg.market.speed, cfg.market.speed_e8, cfg.market.event_rate_per_s) == ("10", 10**9, 1000.0)
    assert cfg.pipeline.metrics is False
    assert cfg.pipeline.processes == (("market_data", "strategy"), ("risk", "gateway"))
    assert cfg.risk.for_symbol("BTCUSDT").max_position == 10_000_000
    assert cfg.risk.for_symbol("BTCUSDT").orders_per_s == 7
    assert dict(cfg.strategy.params) == {"spread_bps": 2.5, "label": "slow"}
    assert [(one.symbol, one.tick_size) for one in cfg.instruments] == [("ETHUSDT", 1_000_000)]


def test_command_line_text_and_typed_values_mean_the_same():
    typed = load([], {}, {"market.timer_ms": 20, "pipeline.metrics": False, "pipeline.duration_s": 1.5})
    text = load([], {}, {"market.timer_ms": "20", "pipeline.metrics": "false", "pipeline.duration_s": "1.5"})
    assert typed == text


def test_an_override_of_none_is_not_given():
    assert load([], {}, {"market.speed": None}) == Config()


def test_replay_on_the_command_line_implies_the_replay_source(tmp_path):
    path = str(write(tmp_path, "", "day.tape"))
    assert load([], {}, {"market.replay": path, "market.speed": "max"}).market.source == "replay"
    explicit = {"market.replay": path, "market.source": "synthetic"}
    assert load([], {}, explicit).market.source == "synthetic"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"market.speed": "max"}, "market.speed = max: a multicast feed cannot hold back"),
        ({"udp.embedded": "false"}, "market.replay = .*: an exchange elsewhere plays its own market"),
    ],
)
def test_a_recording_on_the_udp_venue_needs_a_pace_and_our_own_exchange(more, message):
    settings = {"pipeline.venue": "udp", "market.replay": __file__}
    assert load([], {}, settings).market.source == "replay"
    with pytest.raises(ConfigError, match=message):
        load([], {}, settings | more)


def test_shares_of_an_exchange_elsewhere_are_not_counted_in_packs(tmp_path):
    file = str(write(tmp_path, '[[instruments]]\nsymbol = "BTCUSDT"\npack = 1000\n'))
    outside = {"pipeline.venue": "udp", "udp.embedded": "false", "udp.order_port": "9"}
    assert load([file], {}, {"pipeline.venue": "udp"}).instruments[0].pack == 1000
    with pytest.raises(ConfigError, match=r"instruments\[0\]\.pack = 1000: a share .* is one unit; allowed: 1"):
        load([file], {}, outside)


def test_replay_in_the_environment_implies_the_replay_source(tmp_path):
    path = str(write(tmp_path, "", "day.tape"))
    env = {"HFTPIPE_MARKET__REPLAY": path}
    assert load([], env).market.source == "replay"
    assert load([], {**env, "HFTPIPE_MARKET__SOURCE": "synthetic"}).market.source == "synthetic"
    assert load([], env, {"market.source": "synthetic"}).market.source == "synthetic"
    assert load([], {"HFTPIPE_MARKET__REPLAY": ""}).market.source == "synthetic"


def test_replay_in_a_later_layer_wins_over_a_source_in_an_earlier_one(tmp_path):
    path = str(write(tmp_path, "", "day.tape"))
    assert load([CONFIGS / "default.toml"], {}, {"market.replay": path}).market.source == "replay"
    assert load([], {"HFTPIPE_MARKET__SOURCE": "synthetic"}, {"market": {"replay": path}}).market.source == "replay"


def test_a_recording_that_is_not_there_is_blamed_on_the_variable_that_names_it():
    message = refusal(env={"HFTPIPE_MARKET__REPLAY": "/no/such"})
    assert message.startswith("environment variable HFTPIPE_MARKET__REPLAY: market.replay = /no/such: ")


def test_variables_that_only_say_where_things_are_kept_are_no_settings():
    assert load([], {"HFTPIPE_CACHE_DIR": "/a", "HFTPIPE_STATE_DIR": "/b"}) == Config()


def test_process_counts_spread_the_stages_in_order():
    stages = ("market_data", "strategy", "risk", "gateway")
    assert load([], {}, {"pipeline.processes": 1}).pipeline.processes == (stages,)
    assert load([], {}, {"pipeline.processes": 4}) == Config()


def test_cpu_lists_read_like_taskset():
    assert load([], {}, {"pipeline.cpus": "0,2"}).pipeline.cpu_ids == (0, 2)
    assert (parse_cpus("0-3"), parse_cpus("0-6:2"), parse_cpus("3,1")) == ((0, 1, 2, 3), (0, 2, 4, 6), (3, 1))


def test_a_profile_is_laid_over_the_params(tmp_path):
    text = '[strategy]\nprofile="calm"\n[strategy.params]\na=1\nb=2\n[strategy.profiles.calm]\nb=3\n'
    assert load([write(tmp_path, text)], {}).strategy.effective_params() == {"a": 1, "b": 3}


def test_an_empty_profile_is_a_profile(tmp_path):
    text = '[strategy]\nprofile="calm"\n[strategy.params]\na=1\n[strategy.profiles.calm]\n'
    assert load([write(tmp_path, text)], {}).strategy.effective_params() == {"a": 1}


# --- instruments --------------------------------------------------------------------------------------

SYMBOL_KEYS = {"tick_size": "0.01", "lot_size": "0.001", "min_notional": "20", "reference_price": "3000"}


def instrument_toml(symbol: str, without: tuple[str, ...] = ()) -> str:
    given = [f'{name} = "{value}"' for name, value in SYMBOL_KEYS.items() if name not in without]
    return "\n".join(["[[instruments]]", f'symbol = "{symbol}"', *given, ""])


@pytest.mark.parametrize("missing", SYMBOL_KEYS)
def test_another_symbol_never_takes_a_built_in_price_or_size(tmp_path, missing):
    path = write(tmp_path, instrument_toml("BTCUSDT") + instrument_toml("ETHUSDT", (missing,)))
    message = refusal([path])
    assert message.startswith(
        f"{path}: instruments[1].{missing}: missing (only BTCUSDT at binance_usdm has a built-in one); allowed: "
    )
    assert len(message.splitlines()) == 1


def test_all_that_an_instrument_lacks_is_reported_together(tmp_path):
    lines = refusal([write(tmp_path, instrument_toml("ETHUSDT", tuple(SYMBOL_KEYS)))]).splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"instruments[0].{name}" for name in SYMBOL_KEYS]


def test_venue_and_fees_of_another_symbol_may_default(tmp_path):
    (one,) = load([write(tmp_path, instrument_toml("ETHUSDT"))], {}).instruments
    built_in = Config().instruments[0]
    assert (one.symbol, one.tick_size, one.reference_price) == ("ETHUSDT", 1_000_000, 3000 * 10**8)
    assert (one.venue, one.maker_fee_e8, one.taker_fee_e8) == (built_in.venue, 20_000, 50_000)


def test_the_built_in_symbol_may_be_given_by_name_alone(tmp_path):
    assert load([write(tmp_path, instrument_toml("BTCUSDT", tuple(SYMBOL_KEYS)))], {}) == Config()


# --- risk limits --------------------------------------------------------------------------------------


def test_no_limit_configured_is_none_not_a_number():
    limits = Config().risk.for_symbol("BTCUSDT")
    assert [getattr(limits, name) for name in CAPS] == [None] * 4
    assert (limits.collar_bps, limits.collar_e8, limits.orders_per_s) == (Decimal(100), 1_000_000, 10)


def test_symbol_limits_are_laid_over_the_default_key_by_key(tmp_path):
    text = "[risk.limits.default]\nmax_position = 1\norders_per_s = 5\n[risk.limits.ETHUSDT]\nmax_position = 2"
    risk = load([write(tmp_path, text)], {}).risk
    assert (risk.for_symbol("ETHUSDT").max_position, risk.for_symbol("ETHUSDT").orders_per_s) == (
        2 * 10**8,
        5,
    )
    assert risk.for_symbol("XRPUSDT").max_position == 10**8


def test_demo_overrides_are_the_limits_of_the_shipped_files():
    shipped = load([CONFIGS / "paper.toml", CONFIGS / "risk_limits.toml"], {})
    assert load([], {}, demo_overrides()) == shipped
    assert shipped.risk.for_symbol("BTCUSDT").max_position == 10_000_000
    assert shipped.risk.for_symbol("BTCUSDT").orders_per_min == 6000
    assert shipped.risk.for_symbol("SOLUSDT").max_order_qty is None


@pytest.mark.parametrize("layer", ["env", "overrides"])
def test_limits_given_for_a_symbol_that_is_not_traded_are_refused_by_name(layer):
    given = {
        "env": {"HFTPIPE_RISK__LIMITS__BTCUSTD__MAX_POSITION": "0.01"},
        "overrides": {"risk.limits.BTCUSTD.max_position": "0.01"},
    }
    message = refusal(**{layer: given[layer]})
    assert "risk.limits.BTCUSTD.max_position = 0.01: BTCUSTD is not among the instruments" in message
    assert "did you mean risk.limits.BTCUSDT.max_position?; allowed: default, BTCUSDT" in message
    load([], {}, {"risk.limits.BTCUSDT.max_position": "0.01", "risk.limits.default.max_position": "0.01"})


def test_a_file_may_hold_the_limits_of_other_runs_and_it_is_said_where_one_of_this_run_has_none(tmp_path):
    table = "max_order_qty = 1\nmax_position = 2"
    own = load([write(tmp_path, f"[risk.limits.BTCUSDT]\n{table}\n[risk.limits.ETHUSDT]\n{table}")], {})
    assert not list(limit_warnings(own))
    (text,) = limit_warnings(
        load([write(tmp_path, f"[risk.limits.default]\n{table}\n[risk.limits.BTCUSTD]\n{table}")], {})
    )
    assert (
        text == "BTCUSDT has no limits of its own, only those of risk.limits.default; not traded: risk.limits.BTCUSTD"
    )


def test_limits_for_what_a_recording_trades_wait_until_it_has_been_looked_at(tmp_path):
    replay = {"market.replay": str(write(tmp_path, "", "capture")), "risk.limits.SOLUSDT.max_position": "1"}
    load([], {}, replay)
    load([], {}, replay, ["BTCUSDT", "SOLUSDT"])
    with pytest.raises(ConfigError, match="SOLUSDT is not among the instruments; allowed: default, ETHUSDT"):
        load([], {}, replay, ["ETHUSDT"])


def test_a_position_limit_below_the_order_limit_is_said_with_both_keys():
    given = {"risk.limits.BTCUSDT.max_position": "0.0005", "risk.limits.default.max_order_qty": "0.01"}
    (text,) = limit_warnings(load([], {}, given))
    assert text.startswith(
        "risk.limits.BTCUSDT.max_position = 0.0005 is below risk.limits.BTCUSDT.max_order_qty = 0.01: no order"
    )
    assert not list(limit_warnings(load([], {}, given | {"risk.limits.BTCUSDT.max_order_qty": "0.0005"})))


# --- refusals -----------------------------------------------------------------------------------------

WRONG = [
    ("[market]\ntimer_mss = 3", "market.timer_mss", "did you mean market.timer_ms?"),
    ("[markt]\ntimer_ms = 3", "markt.timer_ms", "did you mean market.timer_ms?"),
    ("[market]\nidle = 'spin'", "market.idle", "did you mean pipeline.idle?"),
    ("[bogus]", "bogus", "pipeline, rings, market"),
    ("market = 3", "market", "source, replay, speed"),
    ("[market]\ntimer_ms = '10'", "market.timer_ms", "1..10000"),
    ("[market]\ntimer_ms = true", "market.timer_ms", "1..10000"),
    ("[market]\ntimer_ms = 0", "market.timer_ms", "1..10000"),
    ("[market]\nseed = 9223372036854775808", "market.seed", "0..9223372036854775807"),
    ("[market]\nspeed = '-1'", "market.speed", 'a positive decimal number or "max"'),
    ("[market]\nspeed = nan", "market.speed", 'a positive decimal number or "max"'),
    ("[market]\nevent_rate_per_s = nan", "market.event_rate_per_s", "up to 1e7"),
    ("[market]\nevent_rate_per_s = 1e999999999999999999999", "market.event_rate_per_s", "up to 1e7"),
    ("[market]\nsource = 'replay'", "market.replay", "the path of a recording"),
    ("[market]\nsource = 'replay'\nreplay = '/no/such'", "market.replay", "the path of a recording"),
    ("[rings]\nintents = 1000", "rings.intents", "a power of two in 8..4194304"),
    ("[pipeline]\nmode = 'demo'", "pipeline.mode", '"paper" or "live"'),
    ("[pipeline]\nname = 'My Pipe'", "pipeline.name", "a-z, 0-9, _ and -"),
    ("[pipeline]\ncpus = '3-0'", "pipeline.cpus", "a CPU list"),
    ("[pipeline]\ncpus = '0,0'", "pipeline.cpus", "no CPU twice"),
    ("[pipeline]\nprocesses = 3", "pipeline.processes", "1, 2 or 4"),
    ("[pipeline]\nprocesses = [['risk'], ['risk']]", "pipeline.processes", "exactly once"),
    ("[pipeline]\nduration_s = inf", "pipeline.duration_s", "0 or more"),
    ("[strategy]\nprofile = 'x'", "strategy.profile", "none is defined"),
    ("[strategy]\nreload_s = -1", "strategy.reload_s", "0..3600"),
    ("[strategy]\nreload_s = 3601", "strategy.reload_s", "0..3600"),
    ("[pipeline]\nheartbeat_timeout_s = 0", "pipeline.heartbeat_timeout_s", "0.1..600"),
    ("[pipeline]\nheartbeat_timeout_s = 601", "pipeline.heartbeat_timeout_s", "0.1..600"),
    ("[strategy]\nname = 'No Such'", "strategy.name", "path.py:ClassName"),
    ("[strategy.params]\na = [1]", "strategy.params.a", "finite number"),
    ("[strategy.params]\na = nan", "strategy.params.a", "finite number"),
    ("[risk.limits.BTCUSDT]\nmax_position = '0'", "risk.limits.BTCUSDT.max_position", "above 0"),
    ("[risk.limits.BTCUSDT]\nmax_position = 0.123456789", "risk.limits.BTCUSDT.max_position", "8 decimals"),
    ("[risk.limits.BTCUSDT]\nmax_position = 1e30", "risk.limits.BTCUSDT.max_position", "below 92233720368"),
    ("[risk.limits.BTCUSDT]\nmax_pos = '1'", "risk.limits.BTCUSDT.max_pos", "max_position"),
    (
        "[risk.limits.A]\nmax_postion = 1",
        "risk.limits.A.max_postion",
        "did you mean risk.limits.A.max_position?",
    ),
    ("[risk.limits.btcusdt]\nmax_position = '1'", "risk.limits.btcusdt.max_position", "max_position"),
    (
        "[risk.limits.default]\nmax_order_qty = 1\nmax_market_order_qty = 2",
        "risk.limits.default.max_market_order_qty",
        "max_market_order_qty <= max_order_qty",
    ),
    ("[[instruments]]\nsymbol = 'BTC/USDT'", "instruments[0].symbol", "A-Z, 0-9"),
    ("[[instruments]]\nvenue = 'binance_spot'", "instruments[0].symbol", "A-Z, 0-9"),
    ("[[instruments]]\nsymbol = 'A'\nticksize = 1", "instruments[0].ticksize", "did you mean tick_size?"),
    ("[[instruments]]\nsymbol = 'A'\n[[instruments]]\nsymbol = 'A'", "instruments", "each symbol once"),
    ("instruments = []", "instruments", "1 to 8192 tables"),
    ("[log]\nlevel = 'loud'", "log.level", '"debug" or "info"'),
]


@pytest.mark.parametrize(("text", "key", "allowed"), WRONG)
def test_a_wrong_value_names_file_key_and_what_is_allowed(tmp_path, text, key, allowed):
    path = write(tmp_path, text)
    message = refusal([path])
    lines = [line for line in message.splitlines() if line.startswith((f"{path}: {key} = ", f"{path}: {key}: "))]
    if "replay" in text and "/no/such" not in text:  # a key that was never given is named without a file
        lines = message.splitlines()
    assert lines, message
    assert key in lines[0] and "allowed: " in lines[0] and allowed in lines[0]


def test_unknown_key_names_file_key_and_suggests(tmp_path):
    path = write(tmp_path, "[market]\nspede = 'max'")
    assert refusal([path]).startswith(f"{path}: market.spede = 'max': unknown key, did you mean market.speed?")


def test_a_refusal_names_the_environment_variable_and_the_value():
    message = refusal(env={"HFTPIPE_MARKET__TIMER_MS": "soon"})
    assert message.startswith("environment variable HFTPIPE_MARKET__TIMER_MS: market.timer_ms = soon: ")
    assert "1..10000" in message


def test_an_environment_variable_with_one_underscore_is_not_ignored():
    message = refusal(env={"HFTPIPE_MARKET_SPEED": "10"})
    assert "HFTPIPE_MARKET_SPEED" in message and "did you mean market.speed?" in message


def test_a_refusal_names_the_command_line():
    assert refusal(overrides={"rings.market": 7}).startswith("command line: rings.market = 7: ")


def test_all_problems_of_all_layers_are_reported_together(tmp_path):
    path = write(tmp_path, "[market]\ntimer_ms = 0\nspeedo = 1")
    message = refusal([path, tmp_path / "gone.toml"], {"HFTPIPE_SIM__POWER_N": "0"}, {"rings.sim": 9})
    assert len(message.splitlines()) == 5
    for part in ("market.timer_ms", "market.speedo", "gone.toml", "sim.power_n", "rings.sim"):
        assert part in message


def test_a_file_that_is_not_toml_is_named(tmp_path):
    path = write(tmp_path, "[market\n")
    assert refusal([path]).startswith(f"{path}: not valid TOML")


def test_an_unreadable_directory_as_file_is_named(tmp_path):
    assert refusal([tmp_path]).startswith(f"{tmp_path}: cannot be read")


# --- exactness ----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_becomes_exactly_its_units_or_is_refused(number):
    exact = Decimal(number).as_integer_ratio() if number.adjusted() < 400 and number.adjusted() > -400 else None
    try:
        units = to_e8(str(number))
    except ValueError:
        fits = exact is not None and abs(exact[0]) * 10**8 < exact[1] * 2**63
        assert not fits or int(number.as_tuple().exponent) < -8
    else:
        assert exact is None or units * exact[1] == exact[0] * 10**8


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_every_int64_survives_the_decimal_form(units):
    sign, digits = "-" * (units < 0), f"{abs(units):09d}"
    assert to_e8(f"{sign}{digits[:-8]}.{digits[-8:]}") == units


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_a_float_is_taken_as_written_or_refused(number):
    try:
        assert to_e8(number) == Decimal(repr(number)) * 10**8
    except ValueError:
        assert int(Decimal(repr(number)).as_tuple().exponent) < -8


@pytest.mark.parametrize("value", ["", " 1", "1_0", "0x1", "nan", "inf", "\u0661", True, None, [], "1e9999999", "1e11"])
def test_what_is_not_a_decimal_in_range_is_refused(value):
    with pytest.raises(ValueError):
        to_e8(value)


# --- fingerprint --------------------------------------------------------------------------------------


def test_equal_settings_have_one_fingerprint_however_they_were_given(tmp_path):
    path = write(tmp_path, "[market]\nspeed = 10.0\n[risk.limits.BTCUSDT]\nmax_position = 0.10\ncollar_bps=100.0")
    env = {"HFTPIPE_MARKET__SPEED": "10", "HFTPIPE_RISK__LIMITS__BTCUSDT__MAX_POSITION": "1e-1"}
    first = load([path], {}).fingerprint()
    assert first == load([], env, {"risk.limits.BTCUSDT.collar_bps": 100}).fingerprint()
    assert re.fullmatch("[0-9a-f]{64}", first)


@pytest.mark.parametrize("key", ["market.seed", "risk.limits.BTCUSDT.max_position", "strategy.params.x"])
def test_any_changed_setting_changes_the_fingerprint(key):
    assert load([], {}, {key: 2}).fingerprint() != Config().fingerprint()


def test_secrets_are_not_in_the_fingerprint():
    assert load([], {"HFTPIPE_SECRET_API_KEY": "k3y-9f31"}) == Config()


# --- secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[venue]\napi_key = 'hunter2'",
        "[[venues]]\nsecret = 'hunter2'",
        "[[instruments]]\nsymbol = 'A'\napi_key = 'hunter2'",
        "[strategy.params]\npassword = 'hunter2'",
        "token = 'hunter2'",
    ],
)
def test_a_secret_in_a_file_is_refused_without_repeating_it(tmp_path, text):
    path = write(tmp_path, text)
    message = refusal([path])
    assert message.startswith(f"{path}: ") and "HFTPIPE_SECRET_" in message
    assert "hunter2" not in message


def test_a_secret_given_as_a_setting_is_refused_without_repeating_it():
    env = {"HFTPIPE_API_KEY": "hunter2", "HFTPIPE_INSTRUMENTS": "[{symbol='A', token='hunter2'}]"}
    message = refusal(env=env, overrides={"venue.secret": "hunter2"})
    assert message.count("allowed: the environment variable HFTPIPE_SECRET_") == 3
    assert "hunter2" not in message


def test_a_secret_put_in_an_ordinary_key_is_not_shown():
    Secret("correct-horse")
    assert "correct-horse" not in refusal(env={"HFTPIPE_LOG__LEVEL": "correct-horse"})


def test_secrets_come_from_the_environment_by_name():
    secrets = secrets_from_env({"HFTPIPE_SECRET_API_KEY": "k3y-9f31", "HFTPIPE_SECRET_EMPTY": "", "OTHER": "x"})
    assert {name: one.reveal() for name, one in secrets.items()} == {"api_key": "k3y-9f31"}


def test_a_table_behaves_as_a_read_only_mapping():
    table = Table.of({"b": 1, "a": 2})
    assert (dict(table), list(table), len(table), table.get("c")) == ({"a": 2, "b": 1}, ["a", "b"], 2, None)
    with pytest.raises(KeyError):
        table["c"]


def test_naming_another_strategy_drops_what_lower_layers_said_of_the_former_ones_params(tmp_path):
    file = write(
        tmp_path, '[strategy]\nprofile="calm"\n[strategy.params]\nspread_bps=1\n[strategy.profiles.calm]\nb=3\n'
    )
    other = load([file], {}, {"strategy.name": "momentum", "strategy.params.window": 5})
    assert other.strategy.effective_params() == {"window": 5}
    same = load([file], {}, {"strategy.name": "market_making"})
    assert same.strategy.effective_params() == {"spread_bps": 1, "b": 3}


def test_a_file_that_names_its_strategy_keeps_its_own_params(tmp_path):
    file = write(tmp_path, '[strategy.params]\nwindow=5\n[strategy]\nname="momentum"\n')
    assert load([file], {}).strategy.effective_params() == {"window": 5}


def test_the_built_in_filters_of_one_venue_are_not_taken_for_another(tmp_path):
    file = write(tmp_path, '[[instruments]]\nsymbol = "BTCUSDT"\nvenue = "binance_spot"\n')
    with pytest.raises(ConfigError) as refused:
        load([file], {})
    for name in SYMBOL_KEYS:
        assert f"instruments[0].{name}: missing" in str(refused.value)


# --- a multicast venue ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("group_a", "1.2.3.4"), ("group_b", "223.255.255.255"), ("group_a", "240.0.0.1"), ("group_a", "239.192.0.256"),
        ("interface", "999.1.1.1"), ("interface", "127.0.0.1.1"), ("interface", "239.192.0.1"), ("interface", "eth0"),
        ("interface", "127.0.0.01"), ("request_address", "0.0.0.0"), ("order_address", "255.255.255.255"),
        ("order_address", "239.1.1.1"), ("port_a", "0"), ("port_b", "65536"), ("order_port", "-1"),
    ],
)  # fmt: skip
def test_addresses_and_ports_that_none_can_have_are_refused_by_key(key, value):
    text = refusal(overrides={f"udp.{key}": value})
    assert text.startswith(f"command line: udp.{key} = {value}: ") and "; allowed: " in text


def test_the_ends_of_the_multicast_range_are_groups():
    udp = load([], {}, {"udp.group_a": "224.0.0.0", "udp.group_b": "239.255.255.255", "udp.interface": "0.0.0.0"}).udp
    assert (udp.group_a, udp.group_b, udp.interface) == ("224.0.0.0", "239.255.255.255", "0.0.0.0")


def test_an_exchange_elsewhere_needs_a_port_for_orders():
    elsewhere = {"pipeline.venue": "udp", "udp.embedded": False}
    text = refusal(overrides=elsewhere)
    assert (
        text
        == "built-in default: udp.order_port = 0: an exchange elsewhere has one; allowed: a port number in 1..65535"
    )
    assert load([], {}, elsewhere | {"udp.order_port": 5000}).udp.order_port == 5000
    assert load([], {}, {"udp.embedded": False}).pipeline.venue == "sim", "where the venue is another it is no matter"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("[venues.udp]\nembedded = false\n", "venues[1].udp.order_port = 0: an exchange elsewhere has one"),
        ('[venues.market]\nspeed = "max"\n', "venues[1].market.speed = 'max': a multicast feed cannot hold back"),
        ('[venues.udp]\nport_a = 0\n', "venues[1].udp.port_a = 0: out of range"),
    ],
)  # fmt: skip
def test_each_of_several_multicast_venues_is_held_to_that_by_itself(tmp_path, keys, problem):
    text = '[[venues]]\nname = "one"\nkind = "paper"\n[[venues]]\nname = "two"\nkind = "nasdaq"\n' + keys
    path = write(tmp_path, text)
    assert refusal([path]).startswith(f"{path}: {problem}")


@pytest.mark.parametrize(
    ("markets", "message"),
    [
        ([{"fair_lag_ms": 5}, {}], "venues.a.market.fair_lag_ms = 5: behind whom"),
        ([{"fair_seed": 1}, {"fair_seed": 1, "fair_news_bps": 3.0}], "fair_news_bps: differs among markets of one fair_seed"),
    ],
)  # fmt: skip
def test_markets_that_could_not_follow_one_price_are_refused(markets, message):
    venues = [{"name": name, "market": market} for name, market in zip("ab", markets, strict=True)]
    with pytest.raises(ConfigError, match=message):
        load([], {}, {"venues": venues})
    load([], {}, {"venues": [{"name": "a", "market": {"fair_seed": 1}}, {"name": "b", "market": {"fair_seed": 2}}]})


# --- what is not reckoned here ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'contract = "inverse"',
            "instruments[0].contract = 'inverse': its value is in the base currency, and notional, PnL and limits are "
            'reckoned as price x quantity in the quote one; allowed: "linear" or "spot"',
        ),
        (
            'multiplier = "1000"',
            "instruments[0].multiplier = '1000': notional, position, PnL and limits are reckoned in units of the base "
            "currency; allowed: 1",
        ),
        ('multiplier = "0"', "instruments[0].multiplier = '0': notional, position"),
        ('contract = "quanto"', "instruments[0].contract = 'quanto': not in the allowed form; allowed: \"linear\" or"),
    ],
)  # fmt: skip
def test_an_instrument_whose_money_is_not_reckoned_here_is_refused_by_name(tmp_path, line, problem):
    path = write(tmp_path, f'[[instruments]]\nsymbol = "BTCUSDT"\nvenue = "binance_usdm"\n{line}\n')
    assert refusal([path]).startswith(f"{path}: {problem}")


def test_linear_contracts_and_spot_with_a_multiplier_of_1_are_taken(tmp_path):
    for contract in ("linear", "spot"):
        entry = (
            f'[[instruments]]\nsymbol = "BTCUSDT"\nvenue = "binance_usdm"\ncontract = "{contract}"\nmultiplier = 1.0\n'
        )
        (one,) = load([write(tmp_path, entry)], {}).instruments
        assert (one.contract, one.multiplier) == (contract, 10**8)
