//! Ceph with its S3 gateway: one monitor, one disk in memory, one gateway. No systemd, no manager.
//!
//! Source: Ceph's manual, "Manual Deployment" and "Ceph Object Gateway".

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{ACCESS_KEY, SECRET_KEY, Server, listens, needs, start, wait_until};
use crate::TestingError;
use crate::postgres::tls::Certificates;
use crate::process::{free_port, run, temp_dir};
use crate::restic::Restic;

const NOTHING_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// 32 bytes in base64, which encrypt nothing of worth.
const KMS_SECRET: &str = "dGVzdGtleXRlc3RrZXl0ZXN0a2V5dGVzdGtleXRlc3Q=";

/// A gateway of one's own. Knows conditional writes, versions, Object Lock and multipart uploads; HTTPS,
/// encryption by [`Ceph::KMS_KEY`], the storage class [`Ceph::COLD`], and buckets in the host's name.
pub struct Ceph {
    port: u16,
    tls: Tls,
    // Ended in this order, before their directory goes.
    _gateway: Server,
    _disk: Server,
    _monitor: Server,
    dir: TempDir,
}

impl Ceph {
    /// The name of a key of its key management (Ceph's own for tests).
    pub const KMS_KEY: &str = "test-key";
    /// A storage class besides `STANDARD`.
    pub const COLD: &str = "COLD";
    /// Below this host name, a bucket may be named in the host instead of the path. Nobody resolves it.
    pub const DOMAIN: &str = "s3.test";

    /// Starts one with the user of [`ACCESS_KEY`](super::ACCESS_KEY); takes some 15 s.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] where Ceph is not installed.
    pub fn start() -> Result<Self, TestingError> {
        for program in ["ceph-mon", "ceph-osd", "radosgw", "radosgw-admin"] {
            needs(program, "Ceph")?;
        }
        let dir = temp_dir()?;
        let place = Place(dir.path());
        let port = free_port()?;
        let tls = Tls {
            port: free_port()?,
            certificates: Certificates::create(&place.join("tls"))?,
        };
        place.configure(port, &tls)?;
        let monitor = place.start_monitor()?;
        let disk = place.start_disk()?;
        // The first call makes zone and zone group, too.
        run(place.command("radosgw-admin").args([
            "user",
            "create",
            "--uid=test",
            "--display-name=test",
            "--access-key",
            ACCESS_KEY,
            "--secret-key",
            SECRET_KEY,
        ]))?;
        place.add_storage_class()?;
        let log = place.join("gateway.out");
        let gateway = start(
            place.command("radosgw").args(["-f", "-n", "client.rgw"]),
            &log,
        )?;
        wait_until(dir.path(), &log, || listens(port))?;
        Ok(Self {
            port,
            tls,
            _gateway: gateway,
            _disk: disk,
            _monitor: monitor,
            dir,
        })
    }

    /// Where it answers plain HTTP.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it answers HTTPS, as 127.0.0.1: any other host's name would be taken for that of a bucket.
    pub fn tls_port(&self) -> u16 {
        self.tls.port
    }

    /// The authority that signed its certificate, in PEM.
    pub fn ca_file(&self) -> &Path {
        &self.tls.certificates.ca
    }

    /// What the gateway's own tool tells of an object: storage class, encryption, parts.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with the words of Ceph's tool.
    pub fn object_stat(&self, bucket: &str, object: &str) -> Result<String, TestingError> {
        let mut stat = Place(self.dir.path()).command("radosgw-admin");
        stat.args(["object", "stat", "--bucket", bucket, "--object", object]);
        run(&mut stat)
    }

    /// Makes a bucket, with a repository of restic's in its folder `made-by-restic`: restic is the one
    /// program here that both signs requests and makes buckets.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with restic's words.
    pub fn make_bucket(&self, name: &str) -> Result<(), TestingError> {
        let place = format!("s3:http://127.0.0.1:{}/{name}/made-by-restic", self.port);
        let restic = Restic::new(place, "any")
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        restic.init().map(drop)
    }

    /// Makes a bucket with Object Lock, and so with versions.
    ///
    /// # Errors
    /// [`TestingError::Unavailable`] without curl, which signs the request; [`TestingError::Failed`] with its words.
    pub fn make_locked_bucket(&self, name: &str) -> Result<(), TestingError> {
        needs("curl", "Ceph's Object Lock")?;
        let mut curl = self.signed("PUT", name);
        curl.args(["-H", "x-amz-bucket-object-lock-enabled: true"]);
        run(&mut curl).map(drop)
    }

    /// Deletes an object as anybody does who has the access keys: where versions are kept, it is hidden by a delete
    /// marker.
    ///
    /// # Errors
    /// As [`Ceph::make_locked_bucket`].
    pub fn delete_object(&self, bucket: &str, object: &str) -> Result<(), TestingError> {
        needs("curl", "signed requests")?;
        run(&mut self.signed("DELETE", &format!("{bucket}/{object}"))).map(drop)
    }

    /// A request without a body.
    fn signed(&self, method: &str, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "-X", method])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3", "--user"])
            .arg(format!("{ACCESS_KEY}:{SECRET_KEY}"))
            // curl leaves it out.
            .args(["-H", &format!("x-amz-content-sha256: {NOTHING_SHA256}")])
            .arg(format!("http://127.0.0.1:{}/{path}", self.port));
        curl
    }

    /// How many parts of unfinished uploads lie in a bucket.
    ///
    /// # Errors
    /// [`TestingError::Failed`] with the words of Ceph's tool.
    pub fn unfinished_parts(&self, bucket: &str) -> Result<usize, TestingError> {
        let mut list = Place(self.dir.path()).command("radosgw-admin");
        list.args(["bucket", "list", "--max-entries=100000", "--bucket", bucket]);
        Ok(run(&mut list)?.matches("\"_multipart_").count())
    }

    /// Its directory, with the logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

struct Tls {
    port: u16,
    certificates: Certificates,
}

struct Place<'a>(&'a Path);

impl Place<'_> {
    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.join("ceph.conf"));
        command
    }

    fn write(&self, name: &str, text: &str) -> Result<(), TestingError> {
        let path = self.join(name);
        fs::write(&path, text).map_err(TestingError::file("write", &path))
    }

    fn configure(&self, port: u16, tls: &Tls) -> Result<(), TestingError> {
        for name in ["mon", "osd", "run"] {
            let path = self.join(name);
            fs::create_dir(&path).map_err(TestingError::file("create", &path))?;
        }
        let monitor = format!(
            "v2:127.0.0.1:{}/0,v1:127.0.0.1:{}/0",
            free_port()?,
            free_port()?
        );
        let cluster = "8b7c3d52-2a53-4c28-9f25-8d0f6b0f7f11";
        let dir = self.0.display();
        let (certificate, key) = (&tls.certificates.certificate, &tls.certificates.key);
        let tls = format!(
            "ssl_endpoint=127.0.0.1:{} ssl_certificate={} ssl_private_key={}",
            tls.port,
            certificate.display(),
            key.display()
        );
        let (domain, kms_key) = (Ceph::DOMAIN, Ceph::KMS_KEY);
        self.write(
            "ceph.conf",
            &format!(
                "[global]\nfsid = {cluster}\nmon host = [{monitor}]\npublic addr = 127.0.0.1\n\
                 keyring = {dir}/keyring\nrun dir = {dir}/run\n\
                 admin socket = {dir}/run/$name.$pid.asok\nlog file = {dir}/$name.log\n\
                 log to stderr = false\nmon data = {dir}/mon\nosd data = {dir}/osd\n\
                 osd pool default size = 1\nosd pool default min size = 1\n\
                 osd pool default pg num = 8\nosd pool default pg autoscale mode = off\n\
                 mon allow pool size one = true\nmon warn on pool no redundancy = false\n\
                 mon data avail crit = 1\nosd crush chooseleaf type = 0\n\
                 osd objectstore = memstore\nmemstore device bytes = 4294967296\n\
                 [client.rgw]\nrgw frontends = beast endpoint=127.0.0.1:{port} {tls}\n\
                 rgw thread pool size = 64\nrgw enable ops log = false\n\
                 rgw dns name = {domain}\nrgw crypt s3 kms backend = testing\n\
                 rgw crypt s3 kms encryption keys = {kms_key}={KMS_SECRET}\n"
            ),
        )?;
        self.write("keyring", &keyring()?)?;
        let map = self.join("monmap");
        let mut monmap = Command::new("monmaptool");
        monmap
            .args(["--create", "--fsid", cluster, "--addv", "a"])
            .arg(format!("[{monitor}]"))
            .arg(&map);
        run(&mut monmap).map(drop)
    }

    fn start_monitor(&self) -> Result<Server, TestingError> {
        run(self
            .command("ceph-mon")
            .args(["--mkfs", "-i", "a", "--monmap"])
            .arg(self.join("monmap"))
            .arg("--keyring")
            .arg(self.join("keyring")))?;
        start(
            self.command("ceph-mon").args(["-f", "-i", "a"]),
            &self.join("monitor.out"),
        )
    }

    /// With a pool of its own; the gateway reads of it when it starts.
    fn add_storage_class(&self) -> Result<(), TestingError> {
        let class = [
            "--placement-id",
            "default-placement",
            "--storage-class",
            Ceph::COLD,
        ];
        for (what, of, pool) in [
            ("zonegroup", ["--rgw-zonegroup", "default"], &[][..]),
            (
                "zone",
                ["--rgw-zone", "default"],
                &["--data-pool", "default.rgw.cold.data"][..],
            ),
        ] {
            let mut admin = self.command("radosgw-admin");
            admin.args([what, "placement", "add"]).args(of);
            run(admin.args(class).args(pool))?;
        }
        Ok(())
    }

    fn start_disk(&self) -> Result<Server, TestingError> {
        let uuid = "1d0f7a44-7c8e-4f0a-8d6e-5b9f2c4e6a10";
        run(self
            .command("ceph")
            .args(["--connect-timeout", "60", "osd", "new", uuid]))?;
        self.write("osd.uuid", uuid)?;
        run(self
            .command("ceph-osd")
            .args(["-i", "0", "--mkfs", "--osd-uuid", uuid]))?;
        run(self.command("ceph").args([
            "osd",
            "crush",
            "add",
            "osd.0",
            "1.0",
            "host=local",
            "root=default",
        ]))?;
        let log = self.join("disk.out");
        let disk = start(self.command("ceph-osd").args(["-f", "-i", "0"]), &log)?;
        wait_until(self.0, &log, || {
            run(self.command("ceph").args(["osd", "stat"])).is_ok_and(|said| said.contains("1 up"))
        })?;
        Ok(disk)
    }
}

fn keyring() -> Result<String, TestingError> {
    let users: [(&str, &[&str]); 4] = [
        ("mon.", &["mon"]),
        ("client.admin", &["mon", "osd", "mgr"]),
        ("osd.0", &["mon", "osd", "mgr"]),
        ("client.rgw", &["mon", "osd"]),
    ];
    let mut text = String::new();
    for (user, rights) in users {
        let key = run(Command::new("ceph-authtool").arg("--gen-print-key"))?;
        let _ = writeln!(text, "[{user}]\n\tkey = {}", key.trim());
        for right in rights {
            let _ = writeln!(text, "\tcaps {right} = \"allow *\"");
        }
    }
    Ok(text)
}
