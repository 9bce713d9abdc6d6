"""Says whether this machine is set up for low latency, and the exact command for each thing that is not.

Reads /proc and /sys only and changes nothing. A missing file (another kernel, a container) is a warning.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hftpipe.config import parse_cpus
from hftpipe.core.schema.finding import NOTHING_TO_DO, Finding, Status

SHM_NEEDED_BYTES = 256 * 2**20
SOCKET_BUFFER_BYTES = 16 * 2**20
#: Bit of the capability sets (linux/capability.h).
CAP_NET_RAW = 13


@dataclass(frozen=True)
class Host:
    """Where to look, and the CPUs the pipeline wants."""

    cpus: tuple[int, ...]
    proc: Path
    sys: Path
    shm: Path

    def cpu_file(self, cpu: int, name: str) -> str:
        """Text of a file of one CPU under /sys. Raises OSError."""
        return read(self.sys / f"devices/system/cpu/cpu{cpu}" / name)


Verdict = tuple[Status, str]
Check = Callable[[Host], Verdict]


def diagnose(
    cpus: Sequence[int] = (0, 1, 2, 3),
    proc: str | os.PathLike[str] = "/proc",
    sys: str | os.PathLike[str] = "/sys",
    shm: str | os.PathLike[str] = "/dev/shm",
) -> list[Finding]:
    """Look at everything that matters for latency on `cpus`. Never raises for a missing or odd file."""
    host = Host(tuple(cpus), Path(proc), Path(sys), Path(shm))
    wanted = ",".join(map(str, cpus))
    return [_finding(host, name, check, advice.format(cpus=wanted, shm=shm)) for name, check, advice in CHECKS]


def _finding(host: Host, name: str, check: Check, advice: str) -> Finding:
    try:
        status, found = check(host)
    except OSError:
        return Finding(name, "warn", "not readable here", f"look on the host itself; if needed: {advice}")
    except (ValueError, LookupError):
        return Finding(name, "warn", "not understood", f"look on the host itself; if needed: {advice}")
    return Finding(name, status, found, NOTHING_TO_DO if status == "ok" else advice)


def render(findings: Sequence[Finding], console: Console, title: str = "hftpipe doctor") -> None:
    """Show the findings as a table on `console`."""
    table = Table(title=title, show_lines=True)
    for heading in ("check", "status", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        style = {"ok": "green", "warn": "yellow", "fail": "red"}[one.status]
        table.add_row(one.name, Text(one.status, style=style), Text(one.found), Text(one.advice))
    console.print(table)


def read(path: Path) -> str:
    """Text of a small file, stripped. Raises OSError."""
    return path.read_text("utf-8", "replace").strip()


def _graded(good: bool, found: str, otherwise: Status = "warn") -> Verdict:
    return ("ok" if good else otherwise), found


def _list(cpus: Sequence[int]) -> str:
    return ",".join(map(str, cpus)) or "none"


# --- CPUs ---------------------------------------------------------------------------------------------


def _cpus_available(host: Host) -> Verdict:
    online = set(parse_cpus(read(host.sys / "devices/system/cpu/online")))
    allowed = set(parse_cpus(_colon_fields(read(host.proc / "self/status"))["Cpus_allowed_list"]))
    missing = [cpu for cpu in host.cpus if cpu not in online & allowed]
    usable = _list(sorted(online & allowed))
    return _graded(not missing, f"wanted {_list(host.cpus)}, usable {usable}, missing {_list(missing)}", "fail")


def _colon_fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _boot_cpus(option: str) -> Check:
    """A check that the kernel's boot `option` covers the wanted CPUs."""

    def check(host: Host) -> Verdict:
        values = re.findall(rf"(?:^|\s){option}=(\S+)", read(host.proc / "cmdline"))
        if not values:
            return "warn", f"{option} is not set"
        # isolcpus and nohz_full may start with flags such as "domain,managed_irq,".
        ranges = [part for part in values[-1].split(",") if not re.fullmatch(r"[a-z_]+", part)]
        covered = parse_cpus(",".join(ranges))
        return _graded(set(host.cpus) <= set(covered), f"{option}={values[-1]}")

    return check


def _governor(host: Host) -> Verdict:
    names = [host.cpu_file(cpu, "cpufreq/scaling_governor") for cpu in host.cpus]
    return _graded(set(names) == {"performance"}, ", ".join(sorted(set(names))))


def _clocksource(host: Host) -> Verdict:
    name = read(host.sys / "devices/system/clocksource/clocksource0/current_clocksource")
    return _graded(name == "tsc", name)


def _tsc_flags(host: Host) -> Verdict:
    flags = _colon_fields(read(host.proc / "cpuinfo")).get("flags", "").split()
    missing = [flag for flag in ("constant_tsc", "nonstop_tsc") if flag not in flags]
    return _graded(not missing, f"missing {', '.join(missing)}" if missing else "constant_tsc nonstop_tsc", "fail")


def _smt_siblings(host: Host) -> Verdict:
    cores: dict[str, list[int]] = {}
    for cpu in host.cpus:
        cores.setdefault(host.cpu_file(cpu, "topology/thread_siblings_list"), []).append(cpu)
    shared = [_list(group) for group in cores.values() if len(group) > 1]
    return _graded(not shared, f"same core: {'; '.join(shared)}" if shared else "one core each")


def _numa_nodes(host: Host) -> Verdict:
    nodes: dict[int, str] = {}
    folders = sorted((host.sys / "devices/system/node").iterdir())
    for folder in (one for one in folders if re.fullmatch(r"node\d+", one.name)):
        cpus = read(folder / "cpulist")  # a node may have memory and no CPU
        nodes.update(dict.fromkeys(parse_cpus(cpus) if cpus else (), folder.name))
    where = [f"{cpu}:{nodes.get(cpu, 'no node')}" for cpu in host.cpus]
    count = sum(bool(re.fullmatch(r"node\d+", one.name)) for one in folders)
    return _graded(len({nodes.get(cpu) for cpu in host.cpus}) <= 1, f"{count} node(s); {' '.join(where)}")


def _steal(host: Host) -> Verdict:
    fields = [int(value) for value in read(host.proc / "stat").splitlines()[0].split()[1:9]]
    share = 100 * fields[7] / max(1, sum(fields))
    return _graded(fields[7] == 0, f"{fields[7]} ticks stolen since boot ({share:.2f} %)")


# --- memory, network, limits --------------------------------------------------------------------------


def _hugepages(host: Host) -> Verdict:
    text = read(host.sys / "kernel/mm/transparent_hugepage/enabled")
    chosen = text[text.index("[") + 1 : text.index("]")]
    return _graded(chosen in ("madvise", "never"), chosen)


def _sysctl_at_least(name: str, low: int) -> Check:
    """A check that the network setting `name` is at least `low`."""

    def check(host: Host) -> Verdict:
        value = int(read(host.proc / "sys/net/core" / name))
        return _graded(value >= low, f"{value} (want {low} or more)")

    return check


def _limit_at_least(label: str, low: int) -> Check:
    """A check that this process's soft limit `label` is at least `low`."""

    def check(host: Host) -> Verdict:
        soft = read(host.proc / "self/limits").split(label, 1)[1].split()[0]
        return _graded(soft == "unlimited" or int(soft) >= low, f"{soft} (want {low} or more)")

    return check


def _packet_sockets(host: Host) -> Verdict:
    mask = int(_colon_fields(read(host.proc / "self/status"))["CapEff"], 16)
    has = bool(mask >> CAP_NET_RAW & 1)
    return _graded(
        has, "CAP_NET_RAW" if has else "no CAP_NET_RAW: multicast lines are read from sockets, which is slower"
    )


def _shm_space(host: Host) -> Verdict:
    stat = os.statvfs(host.shm)
    free_bytes = stat.f_bavail * stat.f_frsize
    found = f"{free_bytes // 2**20} MiB free (want {SHM_NEEDED_BYTES // 2**20} or more)"
    return _graded(free_bytes >= SHM_NEEDED_BYTES, found, "fail")


def _segments(host: Host) -> Verdict:
    names = sorted(one.name for one in host.shm.iterdir() if one.name.startswith("hftpipe-"))
    return _graded(not names, ", ".join(names) or "none")


_BOOT = "add {option}={{cpus}} to GRUB_CMDLINE_LINUX in /etc/default/grub, then: sudo update-grub && sudo reboot"
CHECKS: tuple[tuple[str, Check, str], ...] = (
    ("CPUs", _cpus_available, "choose usable CPUs: hftpipe run --cpus LIST (see: taskset -pc $$)"),
    ("isolcpus", _boot_cpus("isolcpus"), _BOOT.format(option="isolcpus")),
    ("nohz_full", _boot_cpus("nohz_full"), _BOOT.format(option="nohz_full")),
    ("rcu_nocbs", _boot_cpus("rcu_nocbs"), _BOOT.format(option="rcu_nocbs")),
    ("CPU governor", _governor, "sudo cpupower -c {cpus} frequency-set -g performance"),
    (
        "clocksource",
        _clocksource,
        "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    (
        "TSC flags",
        _tsc_flags,
        "use a CPU (or VM type) with an invariant TSC; see: grep -o '[a-z]*_tsc' /proc/cpuinfo",
    ),
    (
        "SMT siblings",
        _smt_siblings,
        "use one CPU per core (see: lscpu -e), or: echo off | sudo tee /sys/devices/system/cpu/smt/control",
    ),
    ("NUMA", _numa_nodes, "choose CPUs of one node: hftpipe run --cpus LIST (see: lscpu -e=CPU,NODE)"),
    (
        "transparent hugepages",
        _hugepages,
        "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
    ),
    (
        "net.core.rmem_max",
        _sysctl_at_least("rmem_max", SOCKET_BUFFER_BYTES),
        f"sudo sysctl -w net.core.rmem_max={SOCKET_BUFFER_BYTES}",
    ),
    (
        "net.core.wmem_max",
        _sysctl_at_least("wmem_max", SOCKET_BUFFER_BYTES),
        f"sudo sysctl -w net.core.wmem_max={SOCKET_BUFFER_BYTES}",
    ),
    ("net.core.busy_read", _sysctl_at_least("busy_read", 1), "sudo sysctl -w net.core.busy_read=50"),
    (
        "RLIMIT_MEMLOCK",
        _limit_at_least("Max locked memory", SHM_NEEDED_BYTES),
        "sudo prlimit --pid $$ --memlock=unlimited (lasting: LimitMEMLOCK=infinity in the systemd unit)",
    ),
    (
        "RLIMIT_RTPRIO",
        _limit_at_least("Max realtime priority", 50),
        "sudo prlimit --pid $$ --rtprio=99 (lasting: LimitRTPRIO=99 in the systemd unit)",
    ),
    (
        "packet sockets",
        _packet_sockets,
        "only for venue udp: sudo setcap cap_net_raw+ep $(readlink -f .venv/bin/python) "
        "(lasting: AmbientCapabilities=CAP_NET_RAW in the systemd unit)",
    ),
    ("shared memory", _shm_space, "sudo mount -o remount,size=1G {shm}"),
    ("segments", _segments, "if no pipeline is running: rm {shm}/hftpipe-*"),
    ("steal time", _steal, "use a dedicated host or bare metal; watch it with: vmstat 1"),
)
