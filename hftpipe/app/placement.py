"""Where the processes run, how they idle there, and what memory they take."""

from pathlib import Path

from hftpipe.core.shared.stage import IDLE_NAMES, SPIN, YIELD


def place(asked: tuple[int, ...], processes: int, available: set[int]) -> tuple[list[int], str | None]:
    """CPU of each process, and a sentence when there are fewer than asked for.

    Args:
        asked: CPUs from the configuration, in order.
        processes: how many processes to place.
        available: CPUs this process may use.
    """
    usable = [cpu for cpu in asked if cpu in available] or sorted(available)
    cpus = [usable[i % len(usable)] for i in range(processes)]
    if len(usable) >= processes and all(cpu in available for cpu in asked[:processes]):
        return cpus, None
    wanted = ",".join(map(str, asked))
    have = ",".join(map(str, usable))
    note = f"asked for CPUs {wanted}, running on {have}: {processes} processes on {len(usable)} CPUs"
    if len(set(cpus)) < processes:
        note += "; processes share CPUs and yield (PROCESSES=2 runs two stages per process, spinning)"
    return cpus, note


def idle_mode(setting: str, cpus: list[int]) -> int:
    """``auto`` spins only when every process has a CPU to itself (four spinners on two CPUs measured 8 ms an event)."""
    if setting != "auto":
        return IDLE_NAMES[setting]
    return SPIN if len(set(cpus)) == len(cpus) else YIELD


def pss_bytes(pid: int) -> int:
    """Proportional set size of a process (0 if it is gone)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
