#!/usr/bin/env python3
"""Measures the product's own commands on sets of files beside other programs, in turn: many small
files, and one large one. See docs/benchmarks.md.

usage: file_sets.py REKINDLE, with BENCH_DIR, SMALL_FILES, INDEX_MIB, ROUNDS, ONLY and KEEP in the
environment. REKINDLE is the program.
"""

import os
import shutil
import sys
from pathlib import Path

import files
import report
from cluster import warm
from files import Borg, Restic, Rustic, Tar, Variant
from measure import Command
from tree import FOLDERS, ROW_BYTES, Tree


class Product(Variant):
    """The program as its users have it, with a configuration and a service."""

    name = "rekindle"

    def __init__(self, root, program, source):
        super().__init__(root)
        self.program = str(program)
        self.source = source
        self.config = self.at / "rekindle.yaml"

    def init(self):
        password = self.at / "password"
        password.chmod(0o600)
        self.config.write_text(
            "stack: bench\n"
            f"vault: {{ at: {self.repository}, password_file: {password} }}\n"
            "services:\n"
            "  index:\n"
            "    datasets:\n"
            f"      - {{ kind: files, paths: [{self.source}] }}\n")
        return self._command("--quiet", "vault", "init")

    def backup(self, source, number):
        return self._command("--quiet", "backup")

    def restore(self, target):
        return self._command("--quiet", "restore", "latest", "--service", "index", "--to", target)

    def _command(self, *arguments):
        # What it keeps between two commands, it keeps with everything else of this run.
        state = {"XDG_STATE_HOME": str(self.at / "state"), "XDG_CACHE_HOME": str(self.at / "cache")}
        return Command([self.program, "--config", str(self.config), *map(str, arguments)],
                       env=state)


class SmallFiles(Tree):
    """Nothing but small texts."""

    def __init__(self, root, count):
        super().__init__(root, 0)
        self.count = count

    def create(self):
        self.sentences = self._make_sentences()
        for number in range(FOLDERS):
            (self.root / "texts" / f"{number:03}").mkdir(parents=True)
        for number in range(self.count):
            self._text(self._text_path(number))


class Index(Tree):
    """Nothing but one index of vectors."""

    def create(self):
        self.root.mkdir(parents=True)
        self._append("index.faiss", self._rows((self.mib << 20) // ROW_BYTES))


class Bench(files.Bench):
    """Each set backed up, backed up again unchanged, and restored."""

    def __init__(self, program):
        super().__init__(program)
        self.work = self.root / "file-sets"
        self.filler.__init__(self.work)
        source, stored = self.work / "source", self.work / "stored"
        self.variants = [Product(stored, program, source), Restic(stored), Rustic(stored),
                         Borg(stored), Tar(stored)]
        small = int(os.environ.get("SMALL_FILES", "20000"))
        index = int(os.environ.get("INDEX_MIB", "1229"))
        self.sets = {}
        if small:
            self.sets["small"] = (f"{small} small files", SmallFiles(source, small))
        if index:
            self.sets["index"] = (f"one index of {index} MiB", Index(source, index))

    def phases(self):
        titles = {"full": ("first backup", "stored MiB"),
                  "unchanged": ("second backup, nothing changed", "added MiB"),
                  "restore": ("restore into an empty directory", None)}
        return {f"{of}-{phase}": (f"{name}: {title}", size)
                for of, (name, _) in self.sets.items() for phase, (title, size) in titles.items()}

    def round(self, number):
        turn = number % len(self.variants)
        ordered = self.variants[turn:] + self.variants[:turn]
        for of, (_, self.tree) in self.sets.items():
            shutil.rmtree(self.work / "source", ignore_errors=True)
            self.tree.create()
            for variant in ordered:
                variant.prepare()
            for taken, phase in enumerate(["full", "unchanged"]):
                for variant in ordered:
                    warm(self.tree.root)
                    command = variant.backup(self.tree.root, taken + 1)
                    self.measure(number, variant, f"{of}-{phase}", command)
            for variant in ordered:
                self.restore_to(number, variant, of)
            # Only now: a file system is slow with the names of what was just removed.
            shutil.rmtree(self.work / "restored", ignore_errors=True)
            shutil.rmtree(self.work / "stored")

    def restore_to(self, number, variant, of):
        target = self.work / "restored" / variant.at.name
        target.mkdir(parents=True)
        warm(variant.at)
        if self.measure(number, variant, f"{of}-restore", variant.restore(target)):
            restored, source = content(target), content(self.tree.root)
            if restored != source:
                files.say(f"!!! FAILED: {variant.name} restored {restored} and not {source}")
                self.failed.append(f"{variant.name}, {of}: not all came back")


def content(root):
    """How many files there are below, and of how many bytes."""
    sizes = [os.lstat(os.path.join(folder, name)).st_size
             for folder, _, names in os.walk(root) for name in names]
    return len(sizes), sum(sizes)


def main():
    bench = Bench(Path(sys.argv[1]).absolute())
    bench.choose()
    try:
        bench.run()
    finally:
        for line in report.write(bench.results, [], 0, bench.phases(), "restic"):
            print(line)
        if not os.environ.get("KEEP"):
            shutil.rmtree(bench.work, ignore_errors=True)
    for failed in bench.failed:
        files.say(f"!!! FAILED: {failed}")
    return 1 if any(name.startswith("rekindle") for name in bench.failed) else 0


if __name__ == "__main__":
    sys.exit(main())
