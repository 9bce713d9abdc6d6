"""A whole run, as a user starts it, whose exchange is killed and comes back without its memory."""

import json
import signal
import time
from pathlib import Path

from ouch_rig import free_port
from test_cli_servers import Process, start  # noqa: F401 (a fixture)
from test_run import FILES

SECONDS = 25


def test_a_run_whose_exchange_restarts_halts_and_says_why(start, tmp_path: Path) -> None:  # noqa: F811
    ports = {name: free_port() for name in ("port_a", "port_b", "order_port", "request_port")}
    flags = [str(item) for name, port in ports.items() for item in (f"--{name.replace('_', '-')}", port)]
    groups = {"group_a": "239.192.7.11", "group_b": "239.192.7.12"}
    flags += [str(item) for name, group in groups.items() for item in (f"--{name.replace('_', '-')}", group)]
    serve = ("sim-exchange", "--protocol", "itch", *FILES, *flags, "--rate", 500)
    settings = [item for name, value in (ports | groups).items() for item in ("--set", f"udp.{name}={value}")]
    exchange: Process = start(*serve)
    exchange.until("open: ")
    summary = tmp_path / "summary.json"
    run = start(
        "run", *FILES, "--cpus", "0-1", "--venue", "udp", "--name", f"restart-{free_port()}", "--duration", SECONDS,
        "--set", "udp.embedded=false", *settings, "--json", summary,
    )  # fmt: skip
    run.until("pipeline started")
    time.sleep(4)
    exchange.end(signal.SIGKILL)
    start(*serve)
    code, text = run.end()
    result = json.loads(summary.read_text())
    # The venue has lost our orders: their end is not known, so the run has not ended well.
    assert code == 1 and result["orders"] > 0 and result["stop"]["unknown_because"], text
    assert result["halted"] == "venue_forgot" and result["faults"]["gateway.venue_forgot"] == 1, text
    assert result["positions_from"] == "zero" and "positions are counted from 0" in text
    assert result["latched_halt"]["cause"] == "venue_forgot" and result["latched_halt"]["stored"]
    assert "HALTED" in text and "gateway.venue forgot 1" in text and '"cause":"venue_forgot"' in text.replace(" ", "")
