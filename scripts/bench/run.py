#!/usr/bin/env python3
"""Measures backup and restore of one database by several programs, in turn. See docs/benchmarks.md.

usage: run.py REKINDLE, with BENCH_DIR, SCALE, ROUNDS, ONLY and KEEP in the environment.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import limits
import measure
import report
from cluster import Cluster, tree_bytes, warm
from memory import Filler
from variants import all_variants, is_installed

HERE = Path(__file__).parent


class Bench:
    """One run: the cluster, what is compared on it, and what was measured."""

    def __init__(self, rekindle):
        self.root = Path(os.environ.get("BENCH_DIR", "/var/tmp/rekindle-bench")).absolute()
        self.rounds = int(os.environ.get("ROUNDS", "3"))
        self.scale = int(os.environ.get("SCALE", "200"))
        self.work = self.root / "work"
        self.cluster = Cluster(self.work, self.scale)
        self.variants = all_variants(self.cluster, self.work, rekindle)
        self.filler = Filler(self.work)
        self.source = 0
        self.results = []
        self.parts = []
        self.failed = []
        self.version = output(["git", "-C", HERE, "describe", "--always", "--dirty"])

    def choose(self):
        """Leaves out what is not asked for, and, loudly, what is not installed."""
        asked = [word.strip() for word in os.environ.get("ONLY", "").split(",") if word.strip()]
        chosen = [v for v in self.variants if not asked or any(w in v.name for w in asked)]
        self.variants = [v for v in chosen if is_installed(v)]
        for variant in chosen:
            if variant not in self.variants:
                say(f"!!! SKIPPED: {variant.name}, because {variant.program} is not installed")

    def run(self):
        if self.work.exists():
            # Of an earlier run that was killed; its server may still be there.
            self.clean()
        self.work.mkdir(parents=True)
        self.root.chmod(0o755)
        say(f"making the database, scale {self.scale}")
        self.cluster.create()
        self.source = self.cluster.bytes()
        say(f"{self.source / (1 << 20):.0f} MiB; {self.rounds} rounds of "
            f"{len(self.variants)} variants")
        for number in range(self.rounds):
            self.round(number)

    def round(self, number):
        # Each round begins with another, so that none always follows the same one.
        turn = number % len(self.variants)
        ordered = self.variants[turn:] + self.variants[:turn]
        ordered.sort(key=lambda variant: variant.needs_stopped_server)
        for variant in list(ordered):
            variant.prepare()
            if not self.backup(number, variant, "full", variant.full()):
                ordered.remove(variant)
        self.cluster.churn(number)
        for variant in ordered:
            if command := variant.second():
                self.backup(number, variant, "second", command)
        for variant in ordered:
            self.restore(number, variant)
        for variant in ordered:
            if command := variant.check():
                self.filler.fill()
                warm(variant.at)
                self.measure(number, variant, "check", command)
        self.cluster.settle()
        self.parts.append(limits.measure(self.cluster.data / "base", self.work))
        shutil.rmtree(self.work / "stored")

    def backup(self, number, variant, phase, command):
        before = variant.stored_bytes()
        if variant.needs_stopped_server:
            self.cluster.stop()
        else:
            self.archive_by(variant)
        self.filler.fill()
        self.cluster.settle()
        done = self.measure(number, variant, phase, command,
                            stored=lambda: variant.stored_bytes() - before)
        self.archive_by(None)
        if variant.needs_stopped_server:
            self.cluster.start()
        return done

    def archive_by(self, variant):
        self.cluster.archive_config.unlink(missing_ok=True)
        if variant and (config := variant.archive_config()):
            self.cluster.archive_config.symlink_to(config)

    def restore(self, number, variant):
        target = self.work / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700)
        shutil.chown(target, self.cluster.user)
        if command := variant.restore(target):
            self.filler.fill()
            warm(variant.at)
            done = self.measure(number, variant, "restore", command)
            # Those that know only an older backup restore that; but nobody restores half of it.
            if done and tree_bytes(target) < self.cluster.bytes() * 9 // 10:
                self.failed.append(f"{variant.name} restored too little")
        shutil.rmtree(target)

    def measure(self, number, variant, phase, command, stored=lambda: 0):
        """Runs and records; returns whether it went well."""
        log = self.work / f"{variant.at.name}.{phase}.log"
        try:
            cost = measure.run(command, log, self.cluster.pid())
        except measure.Failed as error:
            say(f"!!! FAILED: {variant.name}, {phase}: {error}")
            self.failed.append(f"{variant.name}, {phase}")
            return False
        result = {
            "time": time.strftime("%FT%TZ", time.gmtime()), "version": self.version,
            "scale": self.scale, "round": number, "variant": variant.name, "phase": phase,
            "wall": round(cost.wall, 3), "cpu": round(cost.cpu, 2),
            "server_cpu": round(cost.server_cpu, 2), "peak_rss": cost.peak_rss,
            "source": self.cluster.bytes(), "stored": stored(),
        }
        self.results.append(result)
        with open(self.root / "results.jsonl", "a") as lines:
            lines.write(json.dumps(result) + "\n")
        say(f"round {number + 1}  {phase:8}{variant.name:46}{cost.wall:7.2f} s")
        return True

    def write_report(self):
        """Of all that was measured, also if it is less than was to be."""
        if not self.results:
            return
        cores = len(os.sched_getaffinity(0))
        rounds = len({result["round"] for result in self.results})
        print(f"Source {self.source / (1 << 20):.0f} MiB (scale {self.scale}), {cores} cores, "
              f"medians of {rounds} rounds, version {self.version}, {time.strftime('%F')}\n")
        for line in report.write(self.results, self.parts, cores):
            print(line)

    def clean(self):
        """Stops the server, and leaves nothing but the results."""
        self.cluster.stop("immediate")
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.work, ignore_errors=True)


def output(argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or "unknown"


def say(text):
    """To people; the report alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def main():
    # So that the server is stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(Path(sys.argv[1]).absolute())
    bench.choose()
    try:
        bench.run()
    finally:
        bench.write_report()
        bench.clean()
    for failed in bench.failed:
        say(f"!!! FAILED: {failed}")
    return 1 if any(name.startswith("rekindle") for name in bench.failed) else 0


if __name__ == "__main__":
    sys.exit(main())
