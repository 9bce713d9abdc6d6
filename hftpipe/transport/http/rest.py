"""A client of a venue's REST interface: kept connections, weight that is waited for, and an answer for whatever happens.

Nothing is raised for what a venue or a network does: every request ends in an :class:`hftpipe.transport.http.answer.Answer`.
"""

import logging
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError
from urllib3.exceptions import SSLError as TlsError

from hftpipe.transport.http.answer import Answer, Manners, Outcome, read_answer
from hftpipe.transport.http.weights import Weights

CONNECT_S, READ_S = 2.0, 5.0
#: A minute gives all weight back; a rest that is longer is answered at once.
PATIENCE_S = 65.0
CONNECTIONS = 4
#: Methods that change nothing.
SAFE = ("GET",)

# Its lines hold whole addresses, with the query that a signature is in.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _was_sent(error: requests.RequestException) -> bool:
    """Whether any of a request may have reached the venue before it broke."""
    if isinstance(error, requests.ConnectTimeout):
        return False
    inner = error.args[0] if error.args else None
    reason = inner.reason if isinstance(inner, MaxRetryError) else inner
    if isinstance(reason, TlsError):
        return not (reason.args and isinstance(reason.args[0], ssl.SSLCertVerificationError))
    return not isinstance(reason, NewConnectionError | ConnectTimeoutError)


class RestClient:
    """Requests to one server.

    Args:
        address: scheme, host, port, and a path that every request has before its own.
        weights: what may be asked of the server; shared with whatever else asks it.
        manners: how the venue words refusals and counts.
        timeouts_s: for the connection, and for each wait for data.
        patience_s: how long a request waits for its weight, or for a rest to end.
        ca_file: certificates (PEM) to trust instead of the system's; empty: the system's.
    """

    def __init__(
        self,
        address: str,
        weights: Weights,
        manners: Manners | None = None,
        timeouts_s: tuple[float, float] = (CONNECT_S, READ_S),
        patience_s: float = PATIENCE_S,
        ca_file: str = "",
    ) -> None:
        self.address, self.weights = address, weights
        self._manners = manners or Manners()
        self._timeouts_s, self._patience_s = timeouts_s, patience_s
        self._session = requests.Session()
        # Said with each request: a session's own setting gives way to REQUESTS_CA_BUNDLE.
        self._verify: bool | str = ca_file or True
        # Else a password for this host in the user's .netrc would be sent along.
        self._session.auth = _leave_alone
        # A request is never repeated behind our back.
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=CONNECTIONS, max_retries=0)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)

    def get(self, path: str, query: Mapping[str, str | int] | None = None, weight: int = 1) -> Answer:
        """Ask for something; see :meth:`send`."""
        return self.send("GET", path, query, weight)

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | Callable[[], Mapping[str, str | int]] | None = None,
        weight: int = 1,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make one request, after waiting for its weight.

        Args:
            method: GET changes nothing; after any other it may not be known what was done.
            path: below the address, with a leading slash.
            query: its names and values, encoded here in their order; a function that makes them is called once the weight is there.
                So is one that makes the headers.
            weight: what the venue counts for it.
            headers: of this request alone; body: sent as it is.

        Raises:
            ValueError: the weight is more than may ever be spent.
        """
        left_s = self.weights.take(weight, self._patience_s)
        if left_s:
            return Answer(Outcome.LIMITED, message="not asked: the venue is to be left alone", retry_after_s=left_s)
        may_change = method not in SAFE
        if callable(query):
            query = query()
        if callable(headers):
            headers = headers()
        url = self.address + path + ("?" + urlencode(query) if query else "")
        try:
            # A redirect would carry the query, and the key in the headers, to wherever it says.
            response = self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=self._timeouts_s,
                allow_redirects=False,
                verify=self._verify,
            )
        except requests.RequestException as error:
            is_open = may_change and _was_sent(error)
            # Its text holds the query.
            said = f"{method} {path}: {type(error).__name__}"
            return Answer(Outcome.UNKNOWN if is_open else Outcome.FAILED, message=said)
        lower = {name.lower(): text for name, text in response.headers.items()}
        answer = read_answer(response.status_code, lower, response.content, may_change, self._manners)
        self._heed(answer)
        return answer

    def _heed(self, answer: Answer) -> None:
        """What an answer says about how much may be asked from now on."""
        if answer.outcome is Outcome.LIMITED:
            self.weights.rest(answer.retry_after_s)
        if (used := answer.weights.get(self._manners.used)) is not None:
            self.weights.note(used)

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()
