"""A connection of REST that breaks under a request."""

from aiohttp import web

from hftpipe.simulation.market_server.trading.faults import ANSWER_CUT


def cut_off(request: web.Request, cut: str, answer: web.Response) -> web.Response:
    """Break the connection of a request, in the middle of its answer (ANSWER_CUT) or before it; what is given back is never sent."""
    if request.transport is not None:
        if cut == ANSWER_CUT:
            body = answer.body if isinstance(answer.body, bytes) else b""
            head = f"HTTP/1.1 {answer.status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            request.transport.write(head + body[: len(body) // 2])
        request.transport.close()
    return answer
