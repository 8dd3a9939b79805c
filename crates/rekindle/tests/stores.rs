//! A vault on S3 and its copy on a server reached by SFTP: from nothing to a restored database.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use rekindle_testing::{
    postgres::{Major, Postgres},
    restic::Restic,
    servers::{ACCESS_KEY, Ceph, SECRET_KEY, Sshd},
    skip::unless_available,
};
use serde_json::json;
use support::Home;

fn configure(home: &Home, pg: &Postgres, ceph: &Ceph, sshd: &Sshd) {
    home.write("keys", &format!("{ACCESS_KEY}:{SECRET_KEY}\n"));
    home.write("vault-password", "of the vault\n");
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\n\
             vault:\n  \
               at: \"s3://backups/shop?endpoint=http://127.0.0.1:{}\"\n  \
               credentials_file: keys\n  \
               password_file: vault-password\n  \
               copies:\n    \
                 - name: nas\n      \
                   at: \"sftp://vault-host{}/copy\"\n      \
                   store: {{ ssh_config: \"{}\", retry_for: 1m }}\n\
             services:\n  \
               db: {{ datasets: [ {{ kind: postgres, url: \"{}\" }} ] }}\n",
            ceph.port(),
            sshd.dir().display(),
            sshd.client_config().display(),
            pg.url()
        ),
    );
}

#[test]
fn a_database_goes_to_s3_and_by_sftp_and_comes_back_from_both() {
    let Some(pg) = Postgres::builder(Major::V15).start_or_skip() else {
        return;
    };
    let (Some(ceph), Some(sshd)) = (
        unless_available(Ceph::start()),
        unless_available(Sshd::start()),
    ) else {
        return;
    };
    ceph.make_bucket("backups").unwrap();
    let home = Home::new();
    configure(&home, &pg, &ceph, &sshd);
    pg.psql("create table item as select g id, md5(g::text) from generate_series(1, 20000) g");

    home.ok(&["vault", "init"]);
    let made = home.json(&["backup"]);
    assert_eq!(made["copies"][0]["ok"], json!(true), "{made:#}");
    let expected = pg.dump_all();
    home.ok(&["vault", "check", "--read-data"]);
    home.ok(&["--vault", "nas", "vault", "check", "--read-data"]);
    assert_eq!(home.json(&["doctor"])["ok"], true);

    home.ok(&["restore", "--service", "db", "--to", "from-s3"]);
    home.ok(&[
        "--vault",
        "nas",
        "restore",
        "--service",
        "db",
        "--to",
        "from-sftp",
    ]);
    for directory in ["from-s3", "from-sftp"] {
        let restored = Postgres::open_existing(pg.bin_dir(), &home.join(directory)).unwrap();
        assert!(restored.dump_all() == expected, "{directory}");
    }

    let place = format!("s3:http://127.0.0.1:{}/backups/shop", ceph.port());
    let restic = Restic::new(place, "of the vault")
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    restic.check(true).unwrap();

    home.write("keys", &format!("{ACCESS_KEY}:wrong\n"));
    let refused = home.run(&["points"]);
    assert!(
        refused.stderr.contains("SignatureDoesNotMatch"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("the secret key is wrong"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains(SECRET_KEY));
}
