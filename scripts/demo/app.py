#!/usr/bin/env python3
"""The demo's application: takes orders, each of which has a file, a row and a key that refer to each other.

First the file of an order is written, then the row that names it is committed, then the key is set; only then the
customer is told, in a log that lies outside of the stack. So whatever a customer was told can be looked for later.

    app.py UPLOADS CUSTOMERS PORT DATABASE REDIS_SOCKET

Answers `GET /healthz` on the port. Ends when a store fails it, as a program does that its supervisor starts again.
"""

import hashlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time


class Database:
    """One psql that is kept open: Python has no client for PostgreSQL of its own."""

    def __init__(self, conninfo):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", conninfo]
        self.psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, sql):
        """The one line that the statement answers with."""
        self.psql.stdin.write(sql + ";\n")
        self.psql.stdin.flush()
        answer = self.psql.stdout.readline()
        if not answer:
            sys.exit("the database is gone")
        return answer.strip()


class Cache:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.answers = self.socket.makefile("rb")

    def set(self, key, value):
        words = [b"SET", key.encode(), value.encode()]
        parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(b"*%d\r\n%s" % (len(words), parts))
        if self.answers.readline() != b"+OK\r\n":
            sys.exit("the cache is gone")


class Health(http.server.BaseHTTPRequestHandler):
    orders = 0

    def do_GET(self):
        body = json.dumps({"status": "ok", "orders": Health.orders}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def take_order(number, uploads, database, cache, customers):
    content = os.urandom(1024 + 512 * (number % 24))
    checksum = hashlib.sha256(content).hexdigest()
    name = f"{number // 100:04}/{number}.bin"
    path = uploads / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    database.ask(f"INSERT INTO orders VALUES ({number}, '{name}', '{checksum}') RETURNING n")
    cache.set(f"order:{number}", checksum)
    customers.write(f"{number} {name} {checksum} {time.time():.3f}\n")
    customers.flush()


def main():
    uploads, log, port, conninfo, redis = sys.argv[1:]
    database, cache = Database(conninfo), Cache(redis)
    number = int(database.ask("SELECT coalesce(max(n), 0) FROM orders"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(log, "a", encoding="ascii") as customers:
        while True:
            number += 1
            take_order(number, pathlib.Path(uploads), database, cache, customers)
            Health.orders = number
            time.sleep(0.02)


main()
