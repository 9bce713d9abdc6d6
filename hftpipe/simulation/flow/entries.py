"""The synthetic flow behind C addresses, as the market-data stage calls it."""

from hftpipe.core.machine.jit import entry
from hftpipe.core.machine.mem import U64
from hftpipe.simulation.flow.flow import flow_snapshot, flow_step
from hftpipe.simulation.flow.state import FLOW_MAX_RECORDS, SNAPSHOT_MAX_RECORDS

#: Records the caller's array must hold.
MAX_RECORDS = max(FLOW_MAX_RECORDS, SNAPSHOT_MAX_RECORDS)


@entry("int64(uint64, int64)")
def step_entry(flow, out):
    return flow_step(flow, U64(out), FLOW_MAX_RECORDS)


@entry("int64(uint64, int64)")
def snapshot_entry(flow, out):
    return flow_snapshot(flow, U64(out), SNAPSHOT_MAX_RECORDS)
