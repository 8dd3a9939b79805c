#!/usr/bin/env python3
"""Measures backup and restore of a tree of files by several programs, in turn. See
docs/benchmarks.md.

usage: files.py ENGINE, with BENCH_DIR, FILES_MIB, ROUNDS, ONLY and KEEP in the environment.
ENGINE is the example `engine` of the vault's crate.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import measure
import report
from cluster import tree_bytes, warm
from measure import Command
from memory import Filler
from tree import Tree, tree_size

PHASES = {
    "full": ("Files: first backup", "stored MiB"),
    "unchanged": ("Files: second backup, nothing changed", "added MiB"),
    "changed": ("Files: third backup, after changes", "added MiB"),
    "restore": ("Files: restore into an empty directory", None),
    "check": ("Files: check of all stored data", None),
    "forget": ("Files: the first two forgotten, and their room freed", "freed MiB"),
    "copy": ("Files: a copy under another key", "copied MiB"),
}


class Variant:
    """One program. A command that is `None` is one that it does not have."""

    name = program = ""

    def __init__(self, root):
        self.at = root / self.name.replace(" ", "-")
        self.repository = self.at / "repository"
        self.copied = self.at / "copied"

    def prepare(self):
        shutil.rmtree(self.at, ignore_errors=True)
        self.at.mkdir(parents=True)
        (self.at / "password").write_text("bench\n")
        if argv := self.init():
            subprocess.run(argv.argv, check=True, cwd="/", stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env={**os.environ, **argv.env})

    def init(self):
        return None

    def backup(self, source, number):
        raise NotImplementedError

    def restore(self, target):
        raise NotImplementedError

    def check(self):
        return None

    def forget(self):
        return None

    def prepare_copy(self):
        """Makes an empty repository to copy to; whether there is such a thing."""
        return False

    def copy(self):
        return None


class Rekindle(Variant):
    name = "rekindle"

    def __init__(self, root, engine):
        super().__init__(root)
        self.program = str(engine)

    def init(self):
        return self._command("init")

    def backup(self, source, number):
        return self._command("backup", source)

    def restore(self, target):
        return self._command("restore", target)

    def check(self):
        return self._command("check")

    def forget(self):
        return Command(["bash", "-ec", '"$1" forget "$2"; "$1" prune "$2"', "bash", self.program,
                        str(self.repository)])

    def prepare_copy(self):
        subprocess.run([self.program, "init", str(self.copied)], check=True,
                       stderr=subprocess.DEVNULL)
        return True

    def copy(self):
        return self._command("copy", self.copied)

    def _command(self, verb, *arguments):
        return Command([self.program, verb, str(self.repository), *map(str, arguments)])


class Restic(Variant):
    name = program = "restic"

    def init(self):
        return self._command("init")

    def backup(self, source, number):
        return self._command("backup", "--quiet", source)

    def restore(self, target):
        return self._command("restore", "--quiet", "latest", "--target", target)

    def check(self):
        return self._command("check", "--quiet", "--read-data")

    def forget(self):
        return self._command("forget", "--quiet", "--keep-last", "1", "--prune")

    def prepare_copy(self):
        subprocess.run(self._at(self.copied, "init").argv, check=True, stdout=subprocess.DEVNULL)
        return True

    def copy(self):
        return self._at(self.copied, "copy", "--quiet", "--from-repo", self.repository,
                        "--from-password-file", self.at / "password")

    def _command(self, *arguments):
        return self._at(self.repository, *arguments)

    def _at(self, repository, *arguments):
        return Command([self.program, "-r", str(repository), "--password-file",
                        str(self.at / "password"), "--cache-dir", str(self.at / "cache"),
                        *map(str, arguments)])


class Rustic(Restic):
    name = program = "rustic"

    def backup(self, source, number):
        return self._command("backup", source)

    def restore(self, target):
        return self._command("restore", "latest", target)

    def check(self):
        return self._command("check", "--read-data")

    def forget(self):
        return self._command("forget", "--keep-last", "1", "--prune", "--instant-delete")

    def prepare_copy(self):
        return False  # it takes the place of the copy from a profile file


class Borg(Variant):
    name = "borg zstd"
    program = "borg"

    def init(self):
        return self._command("init", "--encryption", "repokey-blake2", self.repository)

    def backup(self, source, number):
        return self._command("create", "--compression", "zstd", f"{self.repository}::{number}",
                             source)

    def restore(self, target):
        script = f"cd {target} && borg extract {self.repository}::2"
        return Command(["bash", "-c", script], env=self._env())

    def check(self):
        return self._command("check", "--verify-data", self.repository)

    def forget(self):
        script = f"borg prune --keep-last 1 {self.repository} && borg compact {self.repository}"
        return Command(["bash", "-c", script], env=self._env())

    def _env(self):
        return {"BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(self.at / "base"),
                "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}

    def _command(self, *arguments):
        return Command([self.program, *map(str, arguments)], env=self._env())


class Tar(Variant):
    """No repository: all of it every time."""

    name = "tar, zstd 1, sha256"
    program = "zstd"

    def backup(self, source, number):
        self.repository.mkdir(exist_ok=True)
        archive = self.repository / "archive.tar.zst"
        script = (f"tar -C {source} -cf - . | zstd -q -1 -T2 -f -o {archive} && "
                  f"sha256sum {archive} > {archive}.sha256 && sync -f {archive}")
        return Command(["bash", "-o", "pipefail", "-c", script])

    def restore(self, target):
        archive = self.repository / "archive.tar.zst"
        return Command(["bash", "-o", "pipefail", "-c",
                        f"zstd -qdc {archive} | tar -xf - -C {target} && sync -f {target}"])

    def check(self):
        return Command(["sha256sum", "--quiet", "-c",
                        str(self.repository / "archive.tar.zst.sha256")])


class Bench:
    """The tree, what is compared on it, and what was measured."""

    def __init__(self, engine):
        self.root = Path(os.environ.get("BENCH_DIR", "/var/tmp/rekindle-bench")).absolute()
        self.work = self.root / "files"
        self.rounds = int(os.environ.get("ROUNDS", "3"))
        self.mib = int(os.environ.get("FILES_MIB", "2048"))
        stored = self.work / "stored"
        self.variants = [Rekindle(stored, engine), Restic(stored), Rustic(stored), Borg(stored),
                         Tar(stored)]
        self.filler = Filler(self.work)
        self.results, self.failed = [], []

    def choose(self):
        asked = [word.strip() for word in os.environ.get("ONLY", "").split(",") if word.strip()]
        chosen = [v for v in self.variants if not asked or any(w in v.name for w in asked)]
        self.variants = [v for v in chosen if shutil.which(v.program)]
        for variant in chosen:
            if variant not in self.variants:
                say(f"!!! SKIPPED: {variant.name}, because {variant.program} is not installed")

    def run(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        for number in range(self.rounds):
            self.round(number)

    def round(self, number):
        shutil.rmtree(self.work / "source", ignore_errors=True)
        self.tree = Tree(self.work / "source", self.mib)
        self.tree.create()
        turn = number % len(self.variants)
        ordered = self.variants[turn:] + self.variants[:turn]
        for variant in ordered:
            variant.prepare()
        for taken, phase in enumerate(["full", "unchanged", "changed"]):
            if phase == "changed":
                self.tree.change()
            for variant in ordered:
                warm(self.tree.root)
                self.measure(number, variant, phase, variant.backup(self.tree.root, taken))
        for variant in ordered:
            self.restore(number, variant)
        for variant in ordered:
            if command := variant.check():
                warm(variant.at)
                self.measure(number, variant, "check", command)
        for variant in ordered:
            if variant.prepare_copy():
                warm(variant.at)
                self.measure(number, variant, "copy", variant.copy())
                shutil.rmtree(variant.copied)
        for variant in ordered:
            if command := variant.forget():
                self.measure(number, variant, "forget", command)
        shutil.rmtree(self.work / "stored")

    def restore(self, number, variant):
        target = self.work / "restored"
        target.mkdir()
        warm(variant.at)
        if self.measure(number, variant, "restore", variant.restore(target)):
            found = tree_size(target)
            if found != tree_size(self.tree.root):
                self.failed.append(f"{variant.name} restored {found} bytes")
        shutil.rmtree(target)

    def measure(self, number, variant, phase, command):
        place = variant.copied if phase == "copy" else variant.repository
        before = tree_bytes(place) if place.exists() else 0
        log = self.work / f"{variant.at.name}.{phase}.log"
        self.filler.fill()
        try:
            cost = measure.run(command, log)
        except measure.Failed as error:
            say(f"!!! FAILED: {variant.name}, {phase}: {error}")
            self.failed.append(f"{variant.name}, {phase}")
            return False
        added = tree_bytes(place) - before
        result = {
            "time": time.strftime("%FT%TZ", time.gmtime()), "round": number,
            "variant": variant.name, "phase": phase, "wall": round(cost.wall, 3),
            "cpu": round(cost.cpu, 2), "server_cpu": 0, "peak_rss": cost.peak_rss,
            "source": tree_size(self.tree.root), "stored": abs(added),
        }
        self.results.append(result)
        with open(self.root / "files.jsonl", "a") as lines:
            lines.write(json.dumps(result) + "\n")
        say(f"round {number + 1}  {phase:10}{variant.name:24}{cost.wall:7.2f} s")
        return True


def say(text):
    """To people; the report alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def main():
    bench = Bench(Path(sys.argv[1]).absolute())
    bench.choose()
    try:
        bench.run()
    finally:
        for line in report.write(bench.results, [], 0, PHASES, "restic"):
            print(line)
        if not os.environ.get("KEEP"):
            shutil.rmtree(bench.work, ignore_errors=True)
    for failed in bench.failed:
        say(f"!!! FAILED: {failed}")
    return 1 if any(name.startswith("rekindle") for name in bench.failed) else 0


if __name__ == "__main__":
    sys.exit(main())
