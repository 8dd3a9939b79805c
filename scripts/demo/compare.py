#!/usr/bin/env python3
"""Holds the three stores of the demo against what its customers were told, and against each other.

    compare.py CUSTOMERS UPLOADS DATABASE REDIS_SOCKET AT_LEAST [--of-one-point]

Prints for each store how many orders it has of those that customers were told of, and what is lost, also in seconds; of
one point, what is in it. Every row, key and file that is there is compared by its SHA-256. Fails if one differs, if an
order up to number AT_LEAST is missing anywhere, if anything but the newest orders is missing, or if a reference leads
nowhere: at the last moment keys and files belong to rows; of one recovery point, every row has its file, because files
are read after the rows that name them.

For programs, on stderr, but not of one point: how many orders customers were told of, lost rows, and lost seconds of
keys and of files.
"""

import argparse
import hashlib
import pathlib
import subprocess
import sys


def told(path):
    """What customers were told: number, file, checksum, moment."""
    orders = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) == 4:  # The last line may have been cut when the application was killed.
            orders[int(words[0])] = (words[1], words[2], float(words[3]))
    return orders


def rows(conninfo):
    sql = "SELECT n, file, sha256 FROM orders"
    command = ["psql", "-X", "-q", "-At", "-F", " ", "-v", "ON_ERROR_STOP=1", "-d", conninfo, "-c", sql]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = (line.split() for line in lines)
    return {int(number): (name, checksum) for number, name, checksum in found}


def keys(socket):
    """All keys of orders, and what they hold."""
    def cli(*words, stdin=None):
        command = ["redis-cli", "-s", socket, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout.splitlines()

    names = cli("--scan", "--pattern", "order:*")
    values = cli(stdin="".join(f"GET {name}\n" for name in names))
    return {int(name.removeprefix("order:")): value for name, value in zip(names, values, strict=True)}


def files(uploads):
    hashed = {}
    for path in uploads.glob("*/*.bin"):
        hashed[int(path.stem)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashed


def fail(why):
    sys.exit(f"demo: FAILED: {why}")


def compare(store, found, orders, at_least):
    """What is lost of a store: how many orders, and how many seconds before the last of all."""
    for number, checksum in found.items():
        if number in orders and orders[number][1] != checksum:
            fail(f"order {number} of the {store} is not what the customer was told")
    lost = sorted(number for number in orders if number not in found)
    if lost and lost[0] <= at_least:
        fail(f"order {lost[0]} is missing in the {store}; all up to {at_least} were backed up")
    if lost and any(number in found for number in range(lost[0], max(orders) + 1)):
        fail(f"order {lost[0]} is missing in the {store}, and newer ones are there")
    if not lost:
        return 0, 0.0
    kept = max((number for number in orders if number < lost[0]), default=lost[0])
    return len(lost), orders[max(orders)][2] - orders[kept][2]


def refer(orders, table, found, of_one_point):
    for name, store in found.items():
        for number in store.keys() & table.keys():
            if table[number][1] != store[number]:
                fail(f"the {name} of order {number} is not what its row says")
        # Of what was being written when all was killed nobody was told.
        if not of_one_point and (strays := store.keys() & orders.keys() - table.keys()):
            fail(f"the {name} of order {min(strays)} belongs to no row")
    if of_one_point and (dangling := table.keys() - found["file"].keys()):
        fail(f"the row of order {min(dangling)} names a file that is not there")


def main():
    parser = argparse.ArgumentParser()
    for name in ("customers", "uploads"):
        parser.add_argument(name, type=pathlib.Path)
    for name in ("database", "redis"):
        parser.add_argument(name)
    parser.add_argument("at_least", type=int)
    parser.add_argument("--of-one-point", action="store_true")
    wanted = parser.parse_args()
    orders, table = told(wanted.customers), rows(wanted.database)
    found = {"key": keys(wanted.redis), "file": files(wanted.uploads)}
    refer(orders, table, found, wanted.of_one_point)
    checksums = {number: checksum for number, (_, checksum) in table.items()}
    stores = {"rows": checksums, "keys": found["key"], "files": found["file"]}
    lost = {store: compare(store, have, orders, wanted.at_least) for store, have in stores.items()}
    if wanted.of_one_point:
        print(f"  {len(table)} rows, {len(found['key'])} keys, {len(found['file'])} files; every row has its file")
        return
    print(f"  {'':<8}{'told to customers':>18}{'there again':>13}{'lost':>7}")
    for store, (number, seconds) in lost.items():
        when = f"   those of the last {seconds:.1f} s" if number else ""
        print(f"  {store:<8}{len(orders):>18}{len(orders) - number:>13}{number:>7}{when}")
    print(len(orders), lost["rows"][0], f"{lost['keys'][1]:.1f} {lost['files'][1]:.1f}", file=sys.stderr)


main()
