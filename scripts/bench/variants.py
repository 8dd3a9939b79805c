"""What is compared: each way of taking a backup of the cluster, as command lines."""

import shutil
import subprocess

from cluster import BIN, tree_bytes
from measure import Command, identity


class Variant:
    """One way. A command that is `None` is one that this way does not have."""

    name = ""
    encrypts = False
    needs_stopped_server = False
    program = ""

    def __init__(self, cluster, root):
        self.cluster = cluster
        self.at = root / "stored" / self.name.replace(" ", "-")

    def prepare(self):
        """Makes the place for backups anew, empty."""
        shutil.rmtree(self.at, ignore_errors=True)
        self.at.mkdir(parents=True)
        shutil.chown(self.at, self.cluster.user)

    def archive_config(self):
        """The pgBackRest configuration by which the server archives meanwhile."""
        return None

    def stored_bytes(self):
        return tree_bytes(self.at)

    def full(self):
        raise NotImplementedError

    def second(self):
        return None

    def restore(self, target):
        return None

    def check(self):
        return None

    def _prepare_by(self, argv, user=None):
        subprocess.run(argv, check=True, cwd="/", stdout=subprocess.DEVNULL, **identity(user))


class Rekindle(Variant):
    """Our own, in both ways."""

    encrypts = True

    def __init__(self, cluster, root, program, method, name):
        self.name = name
        super().__init__(cluster, root)
        self.program = str(program)
        self.method = method
        self.config = self.at / "rekindle.yaml"
        self.vault = self.at / "vault"

    def prepare(self):
        super().prepare()
        password = self.at / "password"
        password.write_text("bench\n")
        password.chmod(0o600)
        url = f"postgres:///postgres?host={self.cluster.socket}&user=postgres"
        self.config.write_text(
            "stack: bench\n"
            f"vault: {{ at: {self.vault}, password_file: {password} }}\n"
            "services:\n"
            "  db:\n"
            "    datasets:\n"
            f"      - {{ kind: postgres, url: \"{url}\", method: {self.method}, logical: false }}\n")
        self._prepare_by([self.program, "--config", self.config, "--quiet", "vault", "init"])

    def stored_bytes(self):
        return tree_bytes(self.vault)

    def full(self):
        return self._command("backup")

    second = full

    def restore(self, target):
        return self._command("restore", "latest", "--service", "db", "--to", str(target))

    def check(self):
        return self._command("vault", "check", "--read-data")

    def _command(self, *arguments):
        return Command([self.program, "--config", str(self.config), *arguments])


class BaseBackupPlain(Variant):
    """PostgreSQL's own, as files."""

    name = "pg_basebackup plain"
    program = str(BIN / "pg_basebackup")

    def full(self):
        return Command([self.program, "-D", str(self.at / "base"), "-c", "fast", "-X", "stream",
                        "-h", str(self.cluster.socket), "-U", "postgres"], self.cluster.user)

    def check(self):
        return Command([str(BIN / "pg_verifybackup"), str(self.at / "base")], self.cluster.user)


class BaseBackupTar(Variant):
    """PostgreSQL's own, compressed by the server: its fastest."""

    name = "pg_basebackup tar, server zstd 1, 2 workers"
    program = str(BIN / "pg_basebackup")

    def full(self):
        return Command([self.program, "-D", str(self.at / "base"), "-c", "fast", "-X", "stream",
                        "-Ft", "--compress=server-zstd:level=1,workers=2",
                        "-h", str(self.cluster.socket), "-U", "postgres"], self.cluster.user)

    def restore(self, target):
        base = self.at / "base"
        script = (f"zstd -dc {base}/base.tar.zst | tar -xf - -C {target} && "
                  f"tar -xf {base}/pg_wal.tar -C {target}/pg_wal && sync -f {target}")
        return Command(["bash", "-o", "pipefail", "-c", script], self.cluster.user)


class PgBackRest(Variant):
    """pgBackRest with two processes and zstd 1. It is not asked to encrypt."""

    program = "pgbackrest"

    def __init__(self, cluster, root, name, options):
        self.name = name
        super().__init__(cluster, root)
        self.options = options
        self.config = self.at / "pgbackrest.conf"

    def prepare(self):
        super().prepare()
        self.config.write_text("\n".join([
            "[global]", f"repo1-path={self.at}/repo", "compress-type=zst", "compress-level=1",
            "process-max=2", "start-fast=y", "repo1-retention-full=99", "log-level-file=off",
            "log-level-console=warn", f"lock-path={self.at}/lock", f"spool-path={self.at}/spool",
            *self.options, "[bench]", f"pg1-path={self.cluster.data}",
            f"pg1-socket-path={self.cluster.socket}", ""]))
        self._prepare_by(self._command("stanza-create").argv, self.cluster.user)

    def archive_config(self):
        return self.config

    def stored_bytes(self):
        # Its WAL archive is not counted; ours is part of the backup.
        return tree_bytes(self.at / "repo" / "backup")

    def full(self):
        return self._command("backup", "--type=full")

    def second(self):
        return self._command("backup", "--type=incr")

    def restore(self, target):
        return self._command("restore", f"--pg1-path={target}")

    def _command(self, *arguments):
        argv = [self.program, f"--config={self.config}", "--stanza=bench", *arguments]
        return Command(argv, self.cluster.user)


class Restic(Variant):
    """Stock restic of the directory of a server that was stopped cleanly."""

    name = "restic (server stopped)"
    program = "restic"
    encrypts = True
    needs_stopped_server = True

    def prepare(self):
        super().prepare()
        (self.at / "password").write_text("bench\n")
        self._prepare_by(self._command("init").argv)

    def stored_bytes(self):
        return tree_bytes(self.at / "repo")

    def full(self):
        return self._command("backup", "--quiet", str(self.cluster.data))

    second = full

    def restore(self, target):
        return self._command("restore", "--quiet", "latest", "--target", str(target))

    def check(self):
        return self._command("check", "--quiet", "--read-data")

    def _command(self, *arguments):
        return Command([self.program, "-r", str(self.at / "repo"), "--password-file",
                        str(self.at / "password"), "--cache-dir", str(self.at / "cache"),
                        *arguments])


def all_variants(cluster, root, rekindle):
    """Ours first. Those that need the server stopped come last."""
    bundle = ["repo1-bundle=y"]
    # Block incremental backups are a beta feature of Debian 12's pgBackRest.
    block = [*bundle, "repo1-block=y", "beta=y"]
    return [
        Rekindle(cluster, root, rekindle, "in_place", "rekindle in place"),
        Rekindle(cluster, root, rekindle, "wire", "rekindle over the wire"),
        BaseBackupPlain(cluster, root),
        BaseBackupTar(cluster, root),
        PgBackRest(cluster, root, "pgBackRest zst 1, bundle", bundle),
        PgBackRest(cluster, root, "pgBackRest zst 1, bundle, block", block),
        Restic(cluster, root),
    ]


def is_installed(variant):
    """Whether its program can be run here."""
    return shutil.which(variant.program) is not None

