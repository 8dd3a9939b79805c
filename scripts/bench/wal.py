#!/usr/bin/env python3
"""Measures the archiving of WAL segments and bringing them back, by Rekindle and pgBackRest in
turn. See docs/benchmarks.md.

usage: wal.py REKINDLE, with BENCH_DIR, WAL_ROUNDS, WAL_SEGMENTS, ONLY and KEEP in the environment.
"""

import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cluster import BIN, tree_bytes, warm
from measure import identity, tree

SEGMENT = 16 << 20
PR_SET_CHILD_SUBREAPER = 36

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{socket}'
dynamic_shared_memory_type = mmap
shared_buffers = 512MB
max_wal_size = 2GB
checkpoint_timeout = 30s
wal_keep_size = 16GB
synchronous_commit = off
jit = off
"""

# What the server's archiver does: one command for each segment, then `.ready` becomes `.done`.
PUSH = """
for segment in {segments}; do
    {command} pg_wal/$segment || exit 1
    mv pg_wal/archive_status/$segment.ready pg_wal/archive_status/$segment.done
done
"""

# What a server in recovery does, and no more of it than asking for the next segment. It removes the last one before
# (`RestoreArchivedFile`); a file that is renamed over another one is written to the disk at once by ext4.
GET = """
for segment in {segments}; do
    rm -f pg_wal/RECOVERYXLOG
    {command} || exit 1
done
"""


class Segments:
    """Segments that a real server wrote under `pgbench`, with full page writes after checkpoints.

    The first of them is archived before the clock runs: a server archives for years, so that what
    is done once for each data directory does not count."""

    def __init__(self, root, count, user):
        self.data, self.socket, self.user = root / "data", root / "run", user
        self.count = count
        self.names = []

    def make(self):
        for directory in (self.data, self.socket):
            directory.mkdir(mode=0o700, parents=True)
            shutil.chown(directory, self.user)
        self._run([BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-k"])
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write(SETTINGS.format(socket=self.socket))
        self._run([BIN / "pg_ctl", "-D", self.data, "-l", self.socket / "log", "-w", "start"])
        try:
            self._run([BIN / "pgbench", *self._reach(), "-i", "-q", "-s", "40", "postgres"])
            first = self._current()
            while len(self.names) < self.count + 1:
                self._run([BIN / "pgbench", *self._reach(), "-n", "-c", "4", "-j", "2", "-T", "10",
                           "postgres"])
                last = self._current()
                written = sorted(name for name in os.listdir(self.data / "pg_wal")
                                 if len(name) == 24 and first < name < last)
                self.names = written[:self.count + 1]
        finally:
            self._run([BIN / "pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop"])

    def _current(self):
        sql = "select pg_walfile_name(pg_current_wal_lsn())"
        return self._run([BIN / "psql", *self._reach(), "-XAtqc", sql, "postgres"]).strip()

    def _reach(self):
        return ["-h", str(self.socket), "-U", "postgres"]

    def _run(self, argv):
        done = subprocess.run([str(word) for word in argv], check=True, cwd="/", text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              **identity(self.user))
        return done.stdout


class Variant:
    """A program that archives: `name`, and how it is set up and called."""

    def __init__(self, name, work, pgdata, user):
        self.name, self.pgdata, self.user = name, pgdata, user
        self.at = work / name.replace(" ", "-")

    def prepare(self):
        """Makes an empty archive."""
        shutil.rmtree(self.at, ignore_errors=True)
        self.at.mkdir(mode=0o700)

    def own(self):
        subprocess.run(["chown", "-R", f"{self.user}:", self.at, self.pgdata], check=True)


class Rekindle(Variant):
    """Ours."""

    program = "rekindle"

    def __init__(self, rekindle, *rest):
        super().__init__("rekindle", *rest)
        self.call = f"{rekindle} --config {self.at}/rekindle.yaml"

    def prepare(self):
        super().prepare()
        (self.at / "password").write_text("a password for the benchmark\n")
        (self.at / "rekindle.yaml").write_text(
            "stack: bench\nvault: { at: vault, password_file: password }\nservices:\n"
            "  db: { datasets: [ { kind: postgres, url: \"postgres://localhost/x\", wal: push } ] }\n")
        subprocess.run(f"{self.call} vault init".split(), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.own()

    def push(self):
        return f"{self.call} wal push"

    def get(self):
        return f"{self.call} wal get $segment pg_wal/RECOVERYXLOG"

    def stored(self):
        return tree_bytes(self.at / "vault" / "rekindle")


class PgBackRest(Variant):
    """pgBackRest with one way of compressing, synchronous or not, with as many processes as cores."""

    program = "pgbackrest"

    def __init__(self, compression, is_async, *rest):
        method = compression.split()[0]
        super().__init__(f"pgBackRest {'async' if is_async else 'sync'} {compression}", *rest)
        self.call = f"pgbackrest --config={self.at}/conf --stanza=bench"
        self.settings = {
            "repo1-path": self.at / "repo", "lock-path": self.at / "lock",
            "spool-path": self.at / "spool", "compress-type": method,
            "compress-level": compression.split()[-1] if " " in compression else "1",
            "process-max": len(os.sched_getaffinity(0)), "archive-async": "ny"[is_async],
            "log-level-file": "off", "log-level-console": "off",
        }

    def prepare(self):
        super().prepare()
        for name in ("repo", "lock", "spool"):
            (self.at / name).mkdir()
        lines = "".join(f"{key}={value}\n" for key, value in self.settings.items())
        (self.at / "conf").write_text(f"[global]\n{lines}[bench]\npg1-path={self.pgdata}\n")
        self.own()
        subprocess.run(f"{self.call} --no-online stanza-create".split(), check=True, cwd="/",
                       **identity(self.user))

    def push(self):
        return f"{self.call} archive-push"

    def get(self):
        return f"{self.call} archive-get $segment pg_wal/RECOVERYXLOG"

    def stored(self):
        return tree_bytes(self.at / "repo" / "archive")


class Bench:
    """One run."""

    def __init__(self, rekindle):
        self.root = Path(os.environ.get("BENCH_DIR", "/var/tmp/rekindle-bench")).absolute()
        self.rounds = int(os.environ.get("WAL_ROUNDS", "5"))
        self.work = self.root / "wal"
        self.user = "postgres" if os.getuid() == 0 else None
        self.segments = Segments(self.work, int(os.environ.get("WAL_SEGMENTS", "64")), self.user)
        # Not the server's own: it is made anew for each measurement.
        self.pgdata = self.work / "pgdata"
        rest = (self.work, self.pgdata, self.user)
        self.variants = [Rekindle(rekindle, *rest)]
        for is_async in (True, False):
            self.variants += [PgBackRest(method, is_async, *rest) for method in ("lz4", "zst 1")]
        asked = [word.strip() for word in os.environ.get("ONLY", "").split(",") if word.strip()]
        self.variants = [v for v in self.variants
                         if (not asked or any(word in v.name for word in asked))
                         and (v.program == "rekindle" or shutil.which(v.program))]
        self.results = []

    def run(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.root.chmod(0o755)
        self.work.chmod(0o755)
        say(f"making {self.segments.count} segments")
        self.segments.make()
        for number in range(self.rounds):
            turn = number % len(self.variants)
            for variant in self.variants[turn:] + self.variants[:turn]:
                self.push(number, variant)
                self.get(number, variant)
                shutil.rmtree(variant.at)

    def push(self, number, variant):
        self.make_pgdata()
        for name in self.segments.names:
            shutil.copy(self.segments.data / "pg_wal" / name, self.pgdata / "pg_wal")
        (self.pgdata / "pg_wal" / "archive_status" / f"{self.segments.names[0]}.ready").touch()
        variant.prepare()
        self.loop(PUSH.format(segments=self.segments.names[0], command=variant.push()))
        for name in self.segments.names[1:]:
            (self.pgdata / "pg_wal" / "archive_status" / f"{name}.ready").touch()
        self.own(self.pgdata)
        script = PUSH.format(segments=" ".join(self.segments.names[1:]), command=variant.push())
        self.measure(number, variant, "push", script, variant.stored)

    def get(self, number, variant):
        self.make_pgdata()
        variant.own()
        warm(variant.at)
        script = GET.format(segments=" ".join(self.segments.names[1:]), command=variant.get())
        self.measure(number, variant, "get", script, variant.stored)
        came_back = (self.pgdata / "pg_wal" / "RECOVERYXLOG").read_bytes()
        if came_back != (self.segments.data / "pg_wal" / self.segments.names[-1]).read_bytes():
            raise RuntimeError(f"{variant.name} brought something else back")

    def make_pgdata(self):
        shutil.rmtree(self.pgdata, ignore_errors=True)
        (self.pgdata / "pg_wal" / "archive_status").mkdir(parents=True)
        (self.pgdata / "global").mkdir()
        shutil.copy(self.segments.data / "PG_VERSION", self.pgdata)
        shutil.copy(self.segments.data / "global" / "pg_control", self.pgdata / "global")
        self.pgdata.chmod(0o700)
        self.own(self.pgdata)

    def own(self, path):
        if self.user:
            subprocess.run(["chown", "-R", f"{self.user}:", path], check=True)

    def loop(self, script):
        """Runs a loop of commands as the server's user, in the data directory."""
        with open(self.work / "log", "wb") as log:
            status = subprocess.Popen(["sh", "-c", script], cwd=self.pgdata, stdout=log, stderr=log,
                                      stdin=subprocess.DEVNULL, **identity(self.user)).wait()
        if status != 0:
            raise RuntimeError((self.work / "log").read_text()[-2000:])

    def measure(self, number, variant, phase, script, stored):
        end_descendants()
        os.sync()
        before = reaped_seconds()
        started = time.monotonic()
        self.loop(script)
        wall = time.monotonic() - started
        cpu = reaped_seconds() - before + end_descendants()
        self.results.append({
            "time": time.strftime("%FT%TZ", time.gmtime()), "round": number, "phase": f"wal {phase}",
            "variant": variant.name, "wall": round(wall, 3), "cpu": round(cpu, 2),
            "segments": self.segments.count, "stored": stored(),
        })
        with open(self.root / "results.jsonl", "a") as lines:
            lines.write(json.dumps(self.results[-1]) + "\n")
        rate = self.segments.count / wall
        say(f"round {number + 1}  {phase:5}{variant.name:26}{wall:7.2f} s{rate:8.1f} segments/s")

    def report(self):
        if not self.results:
            return
        count = self.segments.count
        gib = count * SEGMENT / (1 << 30)
        print(f"{count} segments of 16 MiB, {len(os.sched_getaffinity(0))} cores, medians of "
              f"{self.rounds} rounds, {time.strftime('%F')}\n")
        for phase in ("push", "get"):
            self.table(phase, count, gib)

    def table(self, phase, count, gib):
        of = {v.name: [r for r in self.results
                       if r["variant"] == v.name and r["phase"] == f"wal {phase}"]
              for v in self.variants}
        walls = {name: statistics.median(r["wall"] for r in rs) for name, rs in of.items() if rs}
        rivals = [wall for name, wall in walls.items() if "async" in name]
        print(f"### {phase}\n")
        print("|  | segments/s | spread | CPU s per GiB | stored MiB | × best async |")
        print("|---|---:|---:|---:|---:|---:|")
        for name, wall in walls.items():
            rates = sorted(count / r["wall"] for r in of[name])
            cpu = statistics.median(r["cpu"] for r in of[name]) / gib
            stored = statistics.median(r["stored"] for r in of[name]) / (1 << 20)
            ratio = f"{min(rivals) / wall:.2f}" if rivals else ""
            print(f"| {name} | {count / wall:.1f} | {rates[0]:.1f}–{rates[-1]:.1f} | {cpu:.2f} | "
                  f"{stored:.0f} | {ratio} |")
        print()


def reaped_seconds():
    """CPU time of all processes that ended and were waited for."""
    usage = os.times()
    return usage.children_user + usage.children_system


def end_descendants():
    """Waits for what went on in the background, and returns its CPU time; ends what idles."""
    before, deadline = reaped_seconds(), time.monotonic() + 3
    while descendants := tree(os.getpid())[1:]:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break
        if time.monotonic() > deadline:
            for pid in descendants:
                try:
                    os.kill(pid, 15)
                except ProcessLookupError:
                    pass
        time.sleep(0.05)
    return reaped_seconds() - before


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    # Processes in the background become our children when their parents end, so that their time
    # can be told.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    bench = Bench(Path(sys.argv[1]).absolute())
    try:
        bench.run()
    finally:
        bench.report()
        if not os.environ.get("KEEP"):
            shutil.rmtree(bench.work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
