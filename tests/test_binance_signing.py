"""Signatures and keys of the simulated Binance venue, held to the vectors that the venue documents."""

import hashlib
import hmac
import re

import pytest

from hftpipe.simulation.binance_server.answers import Refused
from hftpipe.simulation.binance_server.trading.keys import Keys, check_time
from hftpipe.simulation.binance_server.trading.signing import api_payload, rest_payload
from hftpipe.simulation.market_server.trading.accounts import AccountSettings, account_from
from hftpipe.simulation.market_server.trading.signatures import PublicKey, hmac_fits

SPOT_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SPOT_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
USDM_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
_TAIL = "side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
#: Query, body, secret, signature.
REST = {
    "spot": (f"symbol=LTCBTC&{_TAIL}", "", SPOT_SECRET, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
    "percent-encoded": (
        f"symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&{_TAIL}", "", SPOT_SECRET,
        "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
    ),
    "usdm": (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943",
        "", USDM_SECRET, "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
    ),
    "query and body": (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC",
        "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943", USDM_SECRET,
        "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4",
    ),
}  # fmt: skip
API = {
    "ascii": (
        {"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01000000",
         "price": "52000.00", "recvWindow": "100", "timestamp": "1645423376532", "apiKey": SPOT_KEY},
        "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
    ),
    "not ascii": (
        {"symbol": "１２３４５６", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1.00000000",
         "price": "0.10000000", "recvWindow": "5000", "timestamp": "1645423376532", "apiKey": SPOT_KEY},
        "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REST)
@pytest.mark.parametrize("in_body", [False, True])
def test_documented_rest_signatures_fit(name: str, in_body: bool) -> None:
    query, body, secret, mark = REST[name]
    if in_body and not body:
        query, body = "", query
    if body:
        body = f"{body}&signature={mark.upper() if in_body else mark}"
    else:
        query = f"{query}&signature={mark}"
    payload, found = rest_payload(query, body)
    assert found is not None and hmac_fits(secret, payload, found)
    assert not hmac_fits(secret, payload + " ", found) and not hmac_fits(secret + "x", payload, found)


@pytest.mark.parametrize("name", API)
def test_documented_signatures_of_the_websocket_api_fit(name: str) -> None:
    params, mark = API[name]
    assert hmac_fits(SPOT_SECRET, api_payload(params | {"signature": mark}), mark)


def test_what_was_signed_before_it_was_percent_encoded_does_not_fit() -> None:
    query, _, secret, _ = REST["percent-encoded"]
    plain = query.replace("%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96", "１２３４５６")
    mark = hmac.new(secret.encode(), plain.encode(), hashlib.sha256).hexdigest()
    assert not hmac_fits(secret, rest_payload(f"{query}&signature={mark}", "")[0], mark)


def test_a_signature_that_is_not_at_the_end_is_none() -> None:
    assert rest_payload("signature=00&symbol=BTCUSDT", "") == ("signature=00&symbol=BTCUSDT", None)
    assert rest_payload("a=1&signature=s%2Bx%3D", "b=2") == ("a=1b=2", "s+x=")


def _keys() -> Keys:
    return Keys((AccountSettings(),))


def refused(call: object, *arguments: object) -> tuple[int, int]:
    with pytest.raises(Refused) as wrong:
        call(*arguments)  # type: ignore[operator]
    return wrong.value.code, wrong.value.status


def test_who_is_not_known_is_told_so() -> None:
    keys, mark = _keys(), hmac.new(b"sim-secret", b"timestamp=1", hashlib.sha256).hexdigest()
    params = {"timestamp": "1", "signature": mark}
    assert keys.signed("sim-key", "timestamp=1", mark, params, 1000).account == 0
    assert refused(keys.signed, "", "timestamp=1", mark, params, 1000) == (-2014, 401)
    assert refused(keys.signed, "other", "timestamp=1", mark, params, 1000) == (-2015, 401)
    assert refused(keys.signed, "sim-key", "timestamp=2", mark, params, 1000) == (-1022, 400)
    assert refused(keys.signed, "sim-key", "timestamp=1", None, {"timestamp": "1"}, 1000) == (-1102, 400)
    assert refused(keys.signed, "sim-key", "", mark, {"signature": mark}, 1000) == (-1102, 400)
    keys.revoke("sim-key")
    assert refused(keys.signed, "sim-key", "timestamp=1", mark, params, 1000) == (-2015, 401)
    keys.restore()
    assert keys.signed("sim-key", "timestamp=1", mark, params, 1000).account == 0


@pytest.mark.parametrize(
    ("sent", "window", "now_us", "fits"),
    [
        ("1700000000000", None, 1_700_000_005_000_000, True),
        ("1700000000000", None, 1_700_000_005_000_001, False),
        ("1700000000000", None, 1_699_999_999_000_001, True),
        ("1700000000000", None, 1_699_999_999_000_000, False),
        ("1700000000000", "60000", 1_699_999_999_000_000, False),
        ("1700000000000000", "1.5", 1_700_000_000_001_500, True),
        ("1700000000000000", "1.5", 1_700_000_000_001_501, False),
    ],
)
def test_a_request_counts_within_its_window_and_less_than_a_second_ahead(
    sent: str, window: str | None, now_us: int, fits: bool
) -> None:
    params = {"timestamp": sent} | ({} if window is None else {"recvWindow": window})
    if fits:
        check_time(params, now_us)
    else:
        assert refused(check_time, params, now_us) == (-1021, 400)


def test_a_window_that_is_none_is_refused() -> None:
    for window, code in (("60001", -1131), ("x", -1100), ("-1", -1100)):
        assert refused(check_time, {"timestamp": "1", "recvWindow": window}, 1000)[0] == code
    assert refused(check_time, {"timestamp": "soon"}, 1000)[0] == -1100


def test_a_secret_is_in_no_repr() -> None:
    assert "sim-secret" not in repr(AccountSettings()) and "PEM" not in repr(AccountSettings(public_key="PEM"))


def test_one_key_cannot_be_two_accounts() -> None:
    with pytest.raises(ValueError, match="given twice"):
        Keys((AccountSettings(), AccountSettings()))


def test_signatures_of_public_keys_fit() -> None:
    pytest.importorskip("cryptography")
    import base64

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    def pem(private: object) -> str:
        format_ = serialization.PublicFormat.SubjectPublicKeyInfo
        return private.public_key().public_bytes(serialization.Encoding.PEM, format_).decode()  # type: ignore[attr-defined]

    ed, other = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)
    marks = ed.sign(b"a=1"), other.sign(b"a=1", padding.PKCS1v15(), SHA256())
    for key, mark, is_ed25519 in zip((ed, other), marks, (True, False), strict=True):
        public, text = PublicKey(pem(key)), base64.b64encode(mark).decode()
        assert public.is_ed25519 is is_ed25519
        assert public.fits("a=1", text) and not public.fits("a=2", text) and not public.fits("a=1", "not base64!")
    with pytest.raises(ValueError, match="allowed: Ed25519 or RSA"):
        PublicKey(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(ValueError, match="not the PEM text of one; allowed: Ed25519 or RSA"):
        PublicKey("nonsense")


def test_an_account_is_told_by_the_environment_and_its_balances_by_options() -> None:
    assert account_from({}) == AccountSettings("sim-key", "sim-secret")
    made = account_from(
        {"HFTPIPE_SIM_API_KEY": "K1", "HFTPIPE_SIM_API_SECRET": "S1"}, balances=["USDT=1000.5", "BTC=2"]
    )
    assert (made.key, made.secret, made.balances) == ("K1", "S1", {"USDT": 1000_50000000, "BTC": 2 * 10**8})


@pytest.mark.parametrize(
    ("env", "balances", "text"),
    [
        ({"HFTPIPE_SIM_API_KEY": "K1"}, (), "HFTPIPE_SIM_API_SECRET is not; allowed: both, or none"),
        ({"HFTPIPE_SIM_API_SECRET": "hidden"}, (), "HFTPIPE_SIM_API_KEY is not; allowed: both, or none"),
        ({"HFTPIPE_SIM_API_KEY": "a b", "HFTPIPE_SIM_API_SECRET": "S1"}, (), "HFTPIPE_SIM_API_KEY: allowed: 1 to 128"),
        ({}, ("USDT",), "--balance USDT: allowed: ASSET=AMOUNT"),
        ({}, ("USDT=-1",), "--balance USDT=-1: allowed"),
        ({}, ("USDT=0.123456789",), "at most 8 decimals"),
    ],
)
def test_an_account_that_is_none_is_refused(env: dict[str, str], balances: tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as wrong:
        account_from(env, balances=balances)
    assert "hidden" not in str(wrong.value)
