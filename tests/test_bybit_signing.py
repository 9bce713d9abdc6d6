"""Signatures, keys, the window of a request, ids and limits of the simulated Bybit venue."""

import base64
from functools import partial
from typing import Any

import pytest

from hftpipe.simulation.bybit_server.answers import Refused
from hftpipe.simulation.bybit_server.trading.ids import order_place, order_text
from hftpipe.simulation.bybit_server.trading.keys import Keys, check_time
from hftpipe.simulation.bybit_server.trading.limits import Limits
from hftpipe.simulation.market_server.trading.accounts import AccountSettings
from hftpipe.simulation.market_server.trading.signatures import hmac_fits

KEY, SECRET, SENT = "hftpipeTESTkey0001", "hftpipeTESTsecret0001", "1790000000000"
BODY = (
    '{"category":"linear","symbol":"BTCUSDT","side":"Buy","orderType":"Limit","qty":"0.001","price":"61000",'
    '"timeInForce":"PostOnly","orderLinkId":"hp-1"}'
)
SPACED = BODY.replace('":', '": ').replace(',"', ', "')
#: What was signed and the signature that pybit makes of it.
VECTORS = {
    "query": ("category=linear&symbol=BTCUSDT", "760862451782a8597bfd5e58cb8f486f3279866bf2608c71348108f3189d7e11"),
    "body": (BODY, "9248b0a522ce484678753bbfe2d9a3fa096be5188f2fa66435765585cf99eb58"),
    "spaces": (SPACED, "d05df0d768fb4cde7203cb3f4249e42e4dbcf7d5b22051f4f30205a3eff32a4b"),
}
AUTH = [KEY, 1790000010000, "442aa61735c995c4863db8d4bfa595591c034964640415853c2f32565750cb2b"]


def keys() -> Keys:
    return Keys((AccountSettings(key=KEY, secret=SECRET),))


def headers(mark: str, **more: str) -> dict[str, str]:
    return {
        "X-BAPI-API-KEY": KEY, "X-BAPI-TIMESTAMP": SENT, "X-BAPI-RECV-WINDOW": "5000", "X-BAPI-SIGN": mark,
    } | more  # fmt: skip


def code_of(call: Any) -> int:
    with pytest.raises(Refused) as wrong:
        call()
    return wrong.value.code


@pytest.mark.parametrize("name", VECTORS)
def test_signatures_of_requests_fit_to_the_byte(name: str) -> None:
    payload, mark = VECTORS[name]
    of_request = partial(keys().of_request, now_ms=int(SENT))
    assert of_request(headers(mark), payload).account == 0
    assert code_of(lambda: of_request(headers(mark), payload + " ")) == 10004
    assert code_of(lambda: of_request(headers(mark), payload.replace("BTC", "ETH"))) == 10004
    assert code_of(lambda: of_request(headers(mark) | {"X-BAPI-RECV-WINDOW": "6000"}, payload)) == 10004
    assert code_of(lambda: of_request(headers(mark) | {"X-BAPI-API-KEY": "other"}, payload)) == 10003
    assert code_of(lambda: of_request({}, payload)) == 10003


def test_the_signature_of_a_connection_fits_until_its_time_has_come() -> None:
    assert keys().of_connection(AUTH, 1790000009999).name == KEY
    assert keys().of_connection([KEY, str(AUTH[1]), AUTH[2]], 1790000009999).name == KEY
    assert code_of(lambda: keys().of_connection(AUTH, 1790000010000)) == 10004
    assert code_of(lambda: keys().of_connection([KEY, 1790000010001, AUTH[2]], 1790000009999)) == 10004
    for wrong in (None, [], [KEY, 1], [KEY, "soon", AUTH[2]], [KEY, AUTH[1], 7]):
        assert code_of(lambda wrong=wrong: keys().of_connection(wrong, 1)) == 10001


def test_a_revoked_key_opens_nothing_until_it_is_restored() -> None:
    ring = keys()
    ring.revoke(KEY)
    assert code_of(lambda: ring.of_connection(AUTH, 1790000000000)) == 10003
    ring.restore()
    assert ring.of_connection(AUTH, 1790000000000).account == 0


@pytest.mark.parametrize(
    ("sent", "window", "now_ms", "fits"),
    [
        ("1000000", "", 1_005_000, True), ("1000000", "", 1_005_001, False),
        ("1000000", "", 999_001, True), ("1000000", "", 999_000, False), ("1000000", "60000", 999_000, False),
        ("1000000", "10", 1_000_010, True), ("1000000", "10", 1_000_011, False),
        ("", "", 0, False), ("soon", "", 0, False), ("1000000", "-1", 1_000_000, False),
    ],
)  # fmt: skip
def test_a_request_counts_within_its_window_and_less_than_a_second_ahead(
    sent: str, window: str, now_ms: int, fits: bool
) -> None:
    if fits:
        check_time(sent, window, now_ms)
    else:
        assert code_of(lambda: check_time(sent, window, now_ms)) == 10002


def test_a_public_key_is_an_rsa_key() -> None:
    pytest.importorskip("cryptography", reason="public keys need cryptography (hftpipe[sim])")
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

    def pem(key: Any) -> str:
        return str(key.public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo).decode())

    private = rsa.generate_private_key(65537, 2048)
    ring = Keys((AccountSettings(public_key_id="rsa", public_key=pem(private.public_key())),))
    text = f"{SENT}rsa5000{BODY}"
    mark = base64.b64encode(private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    given = headers(mark) | {"X-BAPI-API-KEY": "rsa"}
    assert ring.of_request(given, BODY, int(SENT)).name == "rsa"
    assert code_of(lambda: ring.of_request(given, BODY + " ", int(SENT))) == 10004
    other = pem(ed25519.Ed25519PrivateKey.generate().public_key())
    with pytest.raises(ValueError, match="Ed25519; allowed: RSA"):
        Keys((AccountSettings(public_key_id="ed", public_key=other),))


def test_the_check_of_signatures_can_fail() -> None:
    assert hmac_fits(SECRET, f"{SENT}{KEY}5000{BODY}", VECTORS["body"][1])
    assert not hmac_fits(SECRET + "x", f"{SENT}{KEY}5000{BODY}", VECTORS["body"][1])


# --- ids and limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["spot", "linear"])
def test_an_orders_text_leads_back_to_it(category: str) -> None:
    places = [(index, id_) for index in (0, 7, 9999) for id_ in (1, 1_790_000_000_001)]
    texts = {order_text(category, *place): place for place in places}
    assert len(texts) == len(places) and all(order_place(category, text) == place for text, place in texts.items())
    for text in ("", "x", "-5", "007", "a4c1718e-0000-4659-a118-1f6ecce04ad9", next(iter(texts)).upper() + " "):
        assert order_place(category, text) is None


def test_only_so_much_is_asked_within_any_second() -> None:
    limits = Limits()
    charge = partial(limits.charge, 0, "linear", "create")
    verdicts = [charge(1, 1000 + 50 * at) for at in range(12)]
    assert [one.left for one in verdicts] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
    assert [one.is_too_many for one in verdicts] == [False] * 10 + [True] * 2
    assert verdicts[-1].headers()["X-Bapi-Limit-Reset-Timestamp"] == "2000"
    assert charge(1, 1999).is_too_many and not charge(1, 2000).is_too_many and charge(1, 2001).is_too_many
    assert not limits.charge(0, "linear", "cancel", 1, 2001).is_too_many
    assert not limits.charge(1, "linear", "create", 1, 2001).is_too_many
    assert not limits.charge(0, "spot", "create", 20, 2001).is_too_many
    assert limits.charge(0, "spot", "create-batch", 21, 2001).is_too_many
    limits.per_s = 100
    assert not charge(90, 2001).is_too_many
