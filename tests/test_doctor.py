"""The doctor's promises: right on a good host, exact advice on a bad one, never a crash."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from hftpipe.app import doctor
from hftpipe.app.doctor import diagnose, render
from hftpipe.core.schema.finding import NOTHING_TO_DO, Finding

LIMITS = (
    "Limit                     Soft Limit           Hard Limit           Units\n"
    "Max locked memory         {memlock}            unlimited            bytes\n"
    "Max realtime priority     {rtprio}             99\n"
)
GOOD = {
    "proc/cmdline": "ro isolcpus=domain,managed_irq,0-3 nohz_full=0-3 rcu_nocbs=0-3 quiet",
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n",
    "proc/stat": "cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
    "proc/self/status": "Name:\tx\nCapEff:\t0000000000002000\nCpus_allowed_list:\t0-7\n",
    "proc/self/limits": LIMITS.format(memlock="unlimited", rtprio="99"),
    "proc/sys/net/core/rmem_max": "33554432",
    "proc/sys/net/core/wmem_max": "33554432",
    "proc/sys/net/core/busy_read": "50",
    "sys/devices/system/cpu/online": "0-7",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "sys/devices/system/node/node0/cpulist": "0-3",
    "sys/devices/system/node/node1/cpulist": "4-7",
    "sys/devices/system/node/node2/cpulist": "",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    **{f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor": "performance" for n in range(8)},
    **{f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n},{n + 8}" for n in range(8)},
}
CPU = "sys/devices/system/cpu"
BAD = [
    ("CPUs", f"{CPU}/online", "0-1", "fail", "missing 2,3", "hftpipe run --cpus"),
    ("CPUs", "proc/self/status", "Cpus_allowed_list:\t0", "fail", "usable 0, missing 1,2,3", "taskset"),
    ("packet sockets", "proc/self/status", "CapEff:\t000001ffffffdfff", "warn", "no CAP_NET_RAW", "setcap cap_net_raw"),
    ("isolcpus", "proc/cmdline", "quiet", "warn", "isolcpus is not set", "isolcpus=0,1,2,3"),
    ("nohz_full", "proc/cmdline", "nohz_full=1", "warn", "nohz_full=1", "nohz_full=0,1,2,3"),
    ("rcu_nocbs", "proc/cmdline", "my_rcu_nocbs=0-3", "warn", "not set", "rcu_nocbs=0,1,2,3"),
    (
        "CPU governor",
        f"{CPU}/cpu1/cpufreq/scaling_governor",
        "powersave",
        "warn",
        "powersave",
        "-g performance",
    ),
    (
        "clocksource",
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "hpet",
        "warn",
        "hpet",
        "echo tsc | sudo tee",
    ),
    ("TSC flags", "proc/cpuinfo", "flags : tsc constant_tsc", "fail", "missing nonstop_tsc", "invariant TSC"),
    (
        "SMT siblings",
        f"{CPU}/cpu1/topology/thread_siblings_list",
        "0,8",
        "warn",
        "same core: 0,1",
        "lscpu -e",
    ),
    ("NUMA", "sys/devices/system/node/node0/cpulist", "0-2", "warn", "3:no node", "one node"),
    (
        "transparent hugepages",
        "sys/kernel/mm/transparent_hugepage/enabled",
        "[always] madvise never",
        "warn",
        "always",
        "echo madvise | sudo tee",
    ),
    (
        "net.core.rmem_max",
        "proc/sys/net/core/rmem_max",
        "212992",
        "warn",
        "212992",
        "sysctl -w net.core.rmem_max=",
    ),
    (
        "net.core.wmem_max",
        "proc/sys/net/core/wmem_max",
        "212992",
        "warn",
        "212992",
        "sysctl -w net.core.wmem_max=",
    ),
    (
        "net.core.busy_read",
        "proc/sys/net/core/busy_read",
        "0",
        "warn",
        "0 ",
        "sysctl -w net.core.busy_read=50",
    ),
    (
        "RLIMIT_MEMLOCK",
        "proc/self/limits",
        LIMITS.format(memlock=65536, rtprio=99),
        "warn",
        "65536",
        "--memlock",
    ),
    (
        "RLIMIT_RTPRIO",
        "proc/self/limits",
        LIMITS.format(memlock=65536, rtprio=0),
        "warn",
        "0 ",
        "--rtprio=99",
    ),
    ("steal time", "proc/stat", "cpu 10 0 10 70 0 0 0 10 0 0", "warn", "10 ticks", "dedicated host"),
    ("segments", "shm/hftpipe-demo-market", "", "warn", "hftpipe-demo-market", "rm "),
]


def host(root: Path, files: dict[str, str]) -> dict[str, Path]:
    for folder in ("proc", "sys", "shm"):
        (root / folder).mkdir()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", "utf-8")
    return {folder: root / folder for folder in ("proc", "sys", "shm")}


def look(root: Path, files: dict[str, str]) -> dict[str, Finding]:
    return {one.name: one for one in diagnose((0, 1, 2, 3), **host(root, files))}


@pytest.fixture(autouse=True)
def small_need(monkeypatch):
    """The space of the test folder is not what is tested."""
    monkeypatch.setattr(doctor, "SHM_NEEDED_BYTES", 1)


def test_a_tuned_host_has_nothing_to_do(tmp_path):
    findings = look(tmp_path, GOOD)
    assert {name for name, one in findings.items() if one.status != "ok"} == set()
    assert {one.advice for one in findings.values()} == {NOTHING_TO_DO}


@pytest.mark.parametrize(("name", "file", "text", "status", "found", "advice"), BAD)
def test_each_fault_is_found_and_says_exactly_what_to_do(tmp_path, name, file, text, status, found, advice):
    one = look(tmp_path, {**GOOD, file: text})[name]
    assert one.status == status
    assert found in one.found
    assert advice in one.advice


def test_too_little_shared_memory_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "SHM_NEEDED_BYTES", 2**80)
    one = look(tmp_path, GOOD)["shared memory"]
    assert one.status == "fail" and str(tmp_path / "shm") in one.advice


def test_numa_names_the_node_of_each_wanted_cpu(tmp_path):
    one = next(one for one in diagnose((3, 4), **host(tmp_path, GOOD)) if one.name == "NUMA")
    assert one.status == "warn" and one.found == "3 node(s); 3:node0 4:node1"


def test_missing_files_are_warnings_not_crashes(tmp_path):
    nowhere = tmp_path / "nowhere"
    findings = diagnose(proc=nowhere, sys=nowhere, shm=nowhere)
    assert {(one.status, one.found) for one in findings} == {("warn", "not readable here")}
    assert all(one.advice for one in findings)


def test_files_with_odd_content_are_warnings_not_crashes(tmp_path):
    findings = look(tmp_path, dict.fromkeys(GOOD, "?"))
    assert {one.status for one in findings.values()} <= {"ok", "warn", "fail"}
    assert findings["CPUs"].found == findings["RLIMIT_RTPRIO"].found == "not understood"


def test_a_real_host_is_looked_at_without_error():
    assert len(diagnose()) == len(doctor.CHECKS)


def test_the_table_shows_every_finding_and_its_advice():
    stream = io.StringIO()
    findings = [Finding("CPUs", "fail", "missing [3]", "do this"), Finding("NUMA", "ok", "fine", "nothing")]
    render(findings, Console(file=stream, width=120))
    for text in ("CPUs", "fail", "missing [3]", "do this", "NUMA", "fine"):
        assert text in stream.getvalue()
