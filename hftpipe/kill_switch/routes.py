"""What is answered to which request. A table; everything else is 404 or 405.

======================= ============ ======================================================================================
request                 token        what it does
======================= ============ ======================================================================================
``POST /kill``          if one is    halts everything; the body may be ``{"reason": "..."}``, and one that cannot be read kills too
                        set
``POST /reset``         always       clears the halt; needs ``Content-Type: application/json``; the body may be ``{"time": "..."}``,
                                     the time of the halt that is meant
``GET /status``         no           state, cause, orders, cancels sent and confirmed
``GET /health``         no           ``{"status", "trading_enabled", "exchanges"}``
``GET /risk/params``    no           the limits that risk judges by, and what was set while a pipeline ran
``PUT /risk/params``    always       changes limits and strategy parameters: ``{"risk.limits.BTCUSDT.max_position": "0.05"}``, null takes
                                     one back; needs ``Content-Type: application/json``. All of them, or none
======================= ============ ======================================================================================

A page in a browser can send requests to this machine, so none that it could send is obeyed: one whose ``Origin`` is not the address
that it was sent to, whose ``Sec-Fetch-Site`` says that it comes from elsewhere, or that was sent to a name (``Host``) which is neither an
address, ``localhost`` nor this machine's own: such a name may have been pointed here by whoever wrote the page.
"""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import orjson

from hftpipe.app.settings.contract import SettingError
from hftpipe.app.state import StateError
from hftpipe.config import ConfigError
from hftpipe.kill_switch.switch import Killed, Refused, Switch

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request: ``headers`` by lower-case name, ``client`` the address that it came from."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    client: str


@dataclass(frozen=True)
class Answer:
    """What is sent back as JSON; ``allow``: the methods that a path has."""

    code: int
    facts: Mapping[str, Any]
    allow: str = ""


def _refusal(code: int, text: str, allow: str = "") -> Answer:
    return Answer(code, {"error": text}, allow)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _fields(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object; none of what is no such thing."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _kill(switch: Switch, request: Request) -> Answer:
    reason = _fields(request.body).get("reason")
    said = reason if isinstance(reason, str) and reason else "no reason given"
    killed: Killed = switch.kill(f"kill switch, HTTP from {request.client}: {said}", _token(request))
    facts = {"killed": not killed.problem, **asdict(killed)}
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR if killed.problem else HTTPStatus.OK, facts)


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON


def _change(switch: Switch, request: Request) -> Answer:
    if not _is_json(request):
        return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: allowed is {JSON}")
    fields = _fields(request.body)
    if not fields:
        return _refusal(HTTPStatus.BAD_REQUEST, "allowed: a JSON object of keys and values, or null to take one back")
    try:
        return Answer(HTTPStatus.OK, switch.change(_token(request), f"HTTP from {request.client}", fields))
    except (ConfigError, SettingError) as error:
        return _refusal(HTTPStatus.BAD_REQUEST, str(error))


def _reset(switch: Switch, request: Request) -> Answer:
    if not _is_json(request):
        return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type: allowed is {JSON}")
    time = _fields(request.body or b"{}").get("time", "")
    if not isinstance(time, str):
        return _refusal(HTTPStatus.BAD_REQUEST, "time: allowed is the time of the halt as /status gives it, or none")
    return Answer(HTTPStatus.OK, switch.reset(_token(request), f"HTTP from {request.client}", time))


Handler = Callable[[Switch, Request], Answer]
ROUTES: dict[str, dict[str, Handler]] = {
    "/kill": {"POST": _kill},
    "/reset": {"POST": _reset},
    "/status": {"GET": lambda switch, _: Answer(HTTPStatus.OK, switch.status())},
    "/health": {"GET": lambda switch, _: Answer(HTTPStatus.OK, switch.health())},
    "/risk/params": {"GET": lambda switch, _: Answer(HTTPStatus.OK, switch.limits()), "PUT": _change},
}


def _is_trusted_host(host: str) -> bool:
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    if name.lower() in ("localhost", socket.gethostname().lower()):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _foreign(headers: Mapping[str, str]) -> str:
    """Why a request may come from a page of somebody else's; empty if it does not."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if host and not _is_trusted_host(host):
        return "Host: allowed are an address, localhost and the name of this machine"
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return "Origin: allowed is none, or the address that the request is sent to"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "Sec-Fetch-Site: requests from other sites are not answered"
    return ""


def answer(switch: Switch, request: Request) -> Answer:
    """The answer to a request. Never raises what the request could cause."""
    methods = ROUTES.get(request.path.partition("?")[0])
    if methods is None:
        return _refusal(HTTPStatus.NOT_FOUND, f"no such path; there are {', '.join(ROUTES)}")
    handler = methods.get(request.method)
    if handler is None:
        allow = ", ".join(methods)
        return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed here: {allow}", allow)
    if why := _foreign(request.headers):
        return _refusal(HTTPStatus.FORBIDDEN, why)
    try:
        return handler(switch, request)
    except Refused as refused:
        return _refusal(HTTPStatus.UNAUTHORIZED if refused.is_token else HTTPStatus.CONFLICT, str(refused))
    except StateError as error:
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
