"""A throw-away PostgreSQL cluster that holds the data to be backed up."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from measure import identity

BIN = Path("/usr/lib/postgresql/15/bin")
HERE = Path(__file__).parent
DATABASE = "bench"

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{socket}'
dynamic_shared_memory_type = mmap
shared_buffers = 1GB
maintenance_work_mem = 256MB
max_wal_size = 8GB
min_wal_size = 32MB
# Used segments are removed at once: what lies in pg_wal is what a backup needs.
wal_recycle = off
checkpoint_timeout = 30min
autovacuum = off
jit = off
archive_mode = on
archive_command = '{archive} %p'
"""

# WAL goes to pgBackRest while it is its turn, and nowhere otherwise: nobody else pays for it. It
# insists that its name is in `archive_command`; the name of this script will do.
ARCHIVE = """#!/bin/sh
[ -e {current} ] || exit 0
exec pgbackrest --config={current} --stanza=bench archive-push "$1"
"""


class Cluster:
    """A cluster below a directory, reached by a socket there. Page checksums are on."""

    def __init__(self, root, scale):
        self.root = root
        self.data = root / "data"
        self.socket = root / "run"
        self.scale = scale
        # The server refuses to run as root.
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.archive_config = root / "archive.conf"
        self._shared_memory = None

    def create(self):
        """Makes the cluster and its data; takes a minute or two at the usual scale."""
        for directory in (self.data, self.socket):
            directory.mkdir(mode=0o700, parents=True)
            shutil.chown(directory, self.user)
        archive = self.root / "archive-pgbackrest.sh"
        archive.write_text(ARCHIVE.format(current=self.archive_config))
        archive.chmod(0o755)
        self._as_server([BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-k",
                         "-E", "UTF8", "--locale=C.UTF-8"])
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write(SETTINGS.format(socket=self.socket, archive=archive))
        self.start()
        self.sql("postgres", ["-c", f"CREATE DATABASE {DATABASE}"])
        sizes = {"accounts": 100_000, "documents": 5_500, "images": 85}
        variables = [f"-v{name}={rows * self.scale}" for name, rows in sizes.items()]
        self.sql(DATABASE, [*variables, "-f", HERE / "database.sql"])

    def churn(self, round_number):
        """Changes 2 % of the blocks' rows; other blocks each round."""
        self.sql(DATABASE, [f"-vround={round_number % 50}", "-f", HERE / "churn.sql"])

    def start(self):
        self._as_server([BIN / "pg_ctl", "-D", self.data, "-l", self.socket / "log", "-w", "start"])

    def stop(self, mode="fast"):
        if self.pid() is not None:
            self._as_server([BIN / "pg_ctl", "-D", self.data, "-m", mode, "-w", "stop"])

    def pid(self):
        """The postmaster's process id; `None` if it does not run."""
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n")[0])
        except (OSError, ValueError):
            return None

    def settle(self):
        """Nothing is left to write or to archive, and all of the source is in the page cache."""
        if self.pid() is not None:
            self.sql("postgres", ["-c", "CHECKPOINT"])
            self._wait_for_archiver()
        warm(self.data)

    def _wait_for_archiver(self):
        status = self.data / "pg_wal" / "archive_status"
        deadline = time.monotonic() + 60
        while any(name.endswith(".ready") for name in os.listdir(status)):
            if time.monotonic() > deadline:
                raise RuntimeError("the server's archiver does not get done")
            time.sleep(0.2)

    def bytes(self):
        """Bytes of the data directory but for WAL."""
        return tree_bytes(self.data) - tree_bytes(self.data / "pg_wal")

    def sql(self, database, arguments):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", self.socket,
                   "-U", "postgres", "-d", database, *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _as_server(self, argv):
        subprocess.run(argv, check=True, cwd="/", stdout=subprocess.DEVNULL, **identity(self.user))


def warm(path):
    """Reads all files below a path, so that they are in the page cache."""
    buffer = bytearray(1 << 20)
    for file in files(path):
        try:
            with open(file, "rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass
        except OSError:
            continue


def files(path):
    """All regular files below a path."""
    for directory, _, names in os.walk(path):
        for name in names:
            file = os.path.join(directory, name)
            if os.path.isfile(file) and not os.path.islink(file):
                yield file


def tree_bytes(path):
    """The sum of the sizes of all files below a path."""
    total = 0
    for file in files(path):
        try:
            total += os.stat(file).st_size
        except OSError:
            continue
    return total
