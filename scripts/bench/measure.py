"""Measures one command: wall time, CPU time and memory of its whole process tree."""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Command:
    """A command line, and who runs it (`None`: whoever runs this)."""

    argv: list
    user: str = None
    env: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a command took. Times in seconds, memory in bytes."""

    wall: float
    cpu: float
    server_cpu: float
    peak_rss: int


class Failed(Exception):
    """A command ended badly; the message has the end of what it printed."""


def run(command, log, server_pid=None):
    """Runs a command, its output in the file `log`, and returns its `Cost`.

    `server_pid` is the postmaster whose CPU time is told beside. Raises `Failed`.
    """
    os.sync()
    server_before = server_cpu(server_pid)
    with open(log, "wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd="/", env={**os.environ, **command.env}, **identity(command.user))
        memory = PeakMemory(process.pid)
        # `wait4` and not `wait`: it tells the CPU time of all descendants that were waited for.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    memory.stop()
    if process.returncode != 0:
        with open(log, "rb") as output:
            tail = output.read()[-2000:].decode(errors="replace")
        raise Failed(f"`{' '.join(command.argv)}` ended with {process.returncode}:\n{tail}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, server_cpu(server_pid) - server_before,
                memory.peak)


def identity(user):
    """Arguments of `subprocess` that make a child another user, if we may."""
    if user is None or os.getuid() != 0:
        return {}
    return {"user": user, "group": user, "extra_groups": []}


class PeakMemory:
    """Watches a process tree: the largest sum of the resident peaks of all that live at once."""

    def __init__(self, pid):
        self.peak = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(map(resident_peak, tree(self._pid))))


def resident_peak(pid):
    """Bytes of the most memory that a process ever had resident; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def tree(pid):
    """The ids of a process and all its descendants."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        try:
            for thread in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{thread}/children") as children:
                    waiting += map(int, children.read().split())
        except OSError:
            continue
    return found


def server_cpu(postmaster):
    """CPU seconds of a PostgreSQL server since it started, its ended backends included."""
    if postmaster is None:
        return 0.0
    seconds = 0.0
    for pid in tree(postmaster):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        # utime and stime; of the postmaster also those of the children it has waited for.
        seconds += sum(map(int, fields[11:15] if pid == postmaster else fields[11:13])) / TICKS
    return seconds
