//! What a server, a network or a user can do wrong, and what is said about it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io;
use std::time::{Duration, Instant};

use common::{DirectorySink, builder, options, over_the_wire};
use rekindle_postgres::wire::{self, BackupError, BackupRequest};
use rekindle_postgres::{Client, ConnectOptions, Error, Mode, SslMode};
use rekindle_testing::faults::{Direction, Fault, Proxy};
use rekindle_testing::postgres::{Auth, Major, Mode as Stop, Postgres, Tls};
use rekindle_testing::temp_dir;

fn refused(result: Result<Client, Error>) -> Error {
    result.map(drop).unwrap_err()
}

fn backup_error(options: &ConnectOptions) -> Error {
    match over_the_wire(options).map(drop).unwrap_err() {
        BackupError::Postgres(error) => error,
        BackupError::Sink(error) => panic!("the sink failed: {error}"),
    }
}

#[test]
fn every_way_of_passwords_lets_the_right_one_in_and_names_the_wrong_one() {
    let word = "pä'ss\\ w:rd%";
    for auth in [
        Auth::Scram(word.into()),
        Auth::Md5(word.into()),
        Auth::Clear(word.into()),
    ] {
        let Some(server) = builder(Major::V15).auth(auth.clone()).start_or_skip() else {
            return;
        };
        let right = ConnectOptions::parse(&server.url()).unwrap();
        for mode in [Mode::Sql, Mode::Replication] {
            Client::connect(&right, mode).unwrap();
        }
        let over_socket = ConnectOptions::parse(&server.socket_url()).unwrap();
        Client::connect(&over_socket, Mode::Sql).unwrap();
        let error = refused(Client::connect(
            &right.clone().with_password("wrong"),
            Mode::Sql,
        ));
        assert!(
            matches!(error.root(), Error::WrongPassword { .. }),
            "{auth:?}: {error:?}"
        );
        assert!(error.hint().is_some() && !format!("{error:?}").contains("wrong\""));
        let none = ConnectOptions::parse(&server.url_for("postgres", "postgres", None)).unwrap();
        let error = refused(Client::connect(&none, Mode::Sql));
        assert!(
            matches!(error.root(), Error::PasswordMissing { .. }),
            "{auth:?}: {error:?}"
        );
    }
}

#[test]
fn a_backup_works_over_a_unix_socket() {
    let Some(server) = builder(Major::V15).start_or_skip() else {
        return;
    };
    let options = ConnectOptions::parse(&server.socket_url()).unwrap();
    over_the_wire(&options).unwrap().verify_manifest(&server);
}

#[test]
fn tls_verifies_as_far_as_sslmode_asks_and_binds_the_login_to_the_channel() {
    for major in [Major::V15, Major::V17] {
        let made = builder(major)
            .auth(Auth::Scram("secret".into()))
            .tls(Tls::Required)
            .start_or_skip();
        let Some(server) = made else { continue };
        let full = ConnectOptions::parse(&server.tls_url().unwrap()).unwrap();
        let mut client = Client::connect(&full, Mode::Sql).unwrap();
        assert!(client.is_encrypted());
        let rows = client
            .query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .unwrap();
        assert!(rows.first().unwrap().truth("ssl").unwrap());
        over_the_wire(&full).unwrap().verify_manifest(&server);

        let with = |mode, root: Option<&std::path::Path>, host: &str| {
            let mut options = full.clone();
            options.ssl_mode = mode;
            options.ssl_root_cert = root.map(Into::into);
            options.host = rekindle_postgres::Host::Tcp(host.into());
            options
        };
        let ca = server.ca_path();
        // The certificate is for `localhost` and 127.0.0.1; 127.0.0.2 is another name for here.
        for good in [
            with(SslMode::VerifyFull, ca, "localhost"),
            with(SslMode::VerifyCa, ca, "127.0.0.1"),
            with(SslMode::Require, None, "127.0.0.1"),
            with(SslMode::Prefer, None, "127.0.0.1"),
        ] {
            assert!(
                Client::connect(&good, Mode::Sql).unwrap().is_encrypted(),
                "{good:?}"
            );
        }
        for bad in [
            with(SslMode::VerifyFull, None, "127.0.0.1"),
            with(SslMode::VerifyCa, None, "127.0.0.1"),
        ] {
            let error = refused(Client::connect(&bad, Mode::Sql));
            assert!(matches!(error.root(), Error::Tls { .. }), "{error:?}");
        }
        let error = refused(Client::connect(
            &with(SslMode::Disable, None, "127.0.0.1"),
            Mode::Sql,
        ));
        assert!(
            matches!(error.root(), Error::LoginRefused { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn demanded_tls_that_is_not_offered_is_an_error() {
    let Some(server) = builder(Major::V15).start_or_skip() else {
        return;
    };
    let mut options = options(&server);
    assert!(!Client::connect(&options, Mode::Sql).unwrap().is_encrypted());
    options.ssl_mode = SslMode::Require;
    let error = refused(Client::connect(&options, Mode::Sql));
    assert!(
        matches!(error.root(), Error::TlsNotOffered { .. }),
        "{error:?}"
    );
}

#[test]
fn a_missing_database_and_a_role_without_replication_are_told_apart() {
    for major in Major::available() {
        let Some(server) = builder(major).start_or_skip() else {
            continue;
        };
        server.psql("create role plain login");
        let missing = options(&server).with_database("nowhere");
        let error = refused(Client::connect(&missing, Mode::Sql));
        assert!(
            matches!(error.root(), Error::DatabaseMissing { .. }),
            "{error:?}"
        );
        let plain = ConnectOptions::parse(&server.url_for("postgres", "plain", None)).unwrap();
        let error = backup_error(&plain);
        assert!(
            matches!(error.root(), Error::NotPermitted { .. }),
            "{major}: {error:?}"
        );
    }
}

#[test]
fn a_role_with_replication_alone_can_take_a_backup() {
    for major in Major::available() {
        let Some(server) = builder(major).start_or_skip() else {
            continue;
        };
        server.psql("create role copier login replication");
        let copier = ConnectOptions::parse(&server.url_for("postgres", "copier", None)).unwrap();
        let tree = over_the_wire(&copier).unwrap();
        assert_eq!(tree.result.identity.data_directory, None, "{major}");
        tree.verify_manifest(&server);
    }
}

#[test]
fn a_wal_level_that_is_too_low_is_named() {
    for major in Major::available() {
        let made = builder(major)
            .conf("wal_level", "minimal")
            .conf("max_wal_senders", 0)
            .start_or_skip();
        let Some(server) = made else { continue };
        let error = backup_error(&options(&server));
        assert!(
            matches!(error.root(), Error::WalLevelTooLow { .. }),
            "{major}: {error:?}"
        );
    }
}

#[test]
fn exhausted_walsenders_and_slots_are_named() {
    for (setting, value) in [("max_wal_senders", 1), ("max_replication_slots", 0)] {
        let Some(server) = builder(Major::V15).conf(setting, value).start_or_skip() else {
            return;
        };
        let error = backup_error(&options(&server));
        assert!(
            matches!(error.root(), Error::NothingFree { .. }),
            "{setting}: {error:?}"
        );
        assert!(error.is_retryable());
    }
}

#[test]
fn nobody_there_is_unreachable_and_quick() {
    let port = rekindle_testing::free_port().unwrap();
    let options = ConnectOptions::parse(&format!("postgres://u@127.0.0.1:{port}/db")).unwrap();
    let begin = Instant::now();
    let error = refused(Client::connect(&options, Mode::Sql));
    assert!(
        matches!(error.root(), Error::Unreachable { .. }),
        "{error:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
    let socket = ConnectOptions::parse("postgres://u@/db?host=/nonexistent").unwrap();
    assert!(matches!(
        refused(Client::connect(&socket, Mode::Sql)).root(),
        Error::Unreachable { .. }
    ));
}

/// A server with enough data that a stream of it can be interrupted.
fn filled() -> Option<Postgres> {
    let server = builder(Major::V15).start_or_skip()?;
    server.psql("create table t as select g as n, repeat('x', 1000) as filler from generate_series(1, 60000) g");
    Some(server)
}

fn through(server: &Postgres, proxy: &Proxy) -> ConnectOptions {
    let mut options = options(server);
    options.port = proxy.port();
    options.read_timeout = Duration::from_secs(2);
    options
}

#[test]
fn a_stream_cut_anywhere_is_never_a_backup() {
    let Some(server) = filled() else { return };
    let proxy = Proxy::to(server.port()).unwrap();
    for after in [10, 300, 5_000, 1_000_000, 30_000_000, 60_000_000] {
        for reset in [false, true] {
            proxy.set(Fault::Cut {
                direction: Direction::Down,
                after,
                reset,
            });
            let begin = Instant::now();
            let error = backup_error(&through(&server, &proxy));
            let is_loss = matches!(
                error.root(),
                Error::ConnectionLost { .. } | Error::TimedOut { .. } | Error::Protocol { .. }
            );
            assert!(is_loss, "after {after}: {error:?}");
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "after {after}: {:?}",
                begin.elapsed()
            );
        }
    }
    proxy.set(Fault::None);
    over_the_wire(&through(&server, &proxy))
        .unwrap()
        .verify_manifest(&server);
}

#[test]
fn a_server_that_falls_silent_is_given_up_after_its_time() {
    let Some(server) = filled() else { return };
    let proxy = Proxy::to(server.port()).unwrap();
    proxy.set(Fault::Stall {
        direction: Direction::Down,
        after: 10_000_000,
    });
    let begin = Instant::now();
    let error = backup_error(&through(&server, &proxy));
    assert!(matches!(error.root(), Error::TimedOut { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

/// A sink that does something in the middle of the stream.
struct Interrupting<F: FnMut() -> io::Result<()>> {
    inner: DirectorySink,
    seen: u64,
    after: u64,
    act: F,
}

impl<F: FnMut() -> io::Result<()>> rekindle_postgres::PgdataSink for Interrupting<F> {
    type Error = io::Error;

    fn directory(&mut self, path: &str, meta: &rekindle_postgres::EntryMeta) -> io::Result<()> {
        self.inner.directory(path, meta)
    }

    fn symlink(
        &mut self,
        path: &str,
        target: &str,
        meta: &rekindle_postgres::EntryMeta,
    ) -> io::Result<()> {
        self.inner.symlink(path, target, meta)
    }

    fn begin_file(
        &mut self,
        path: &str,
        size: u64,
        meta: &rekindle_postgres::EntryMeta,
    ) -> io::Result<()> {
        self.inner.begin_file(path, size, meta)
    }

    fn data(&mut self, bytes: bytes::Bytes) -> io::Result<()> {
        let before = self.seen;
        self.seen += bytes.len() as u64;
        if before < self.after && self.seen >= self.after {
            (self.act)()?;
        }
        self.inner.data(bytes)
    }

    fn end_file(&mut self) -> io::Result<()> {
        self.inner.end_file()
    }
}

fn interrupted(
    options: &ConnectOptions,
    act: impl FnMut() -> io::Result<()>,
) -> BackupError<io::Error> {
    let (home, wal_home) = (temp_dir().unwrap(), temp_dir().unwrap());
    std::fs::create_dir(wal_home.path().join("pg_wal")).unwrap();
    let inner = DirectorySink::new(home.path());
    let mut base = Interrupting {
        inner,
        seen: 0,
        after: 10_000_000,
        act,
    };
    let mut wal = DirectorySink::new(wal_home.path());
    wire::take(
        options,
        &BackupRequest::new("cut short"),
        &mut base,
        &mut wal,
    )
    .map(drop)
    .unwrap_err()
}

#[test]
fn a_server_killed_or_stopped_in_the_middle_of_the_stream_is_an_error() {
    for is_killed in [true, false] {
        let Some(mut server) = filled() else { return };
        let options = options(&server);
        let error = interrupted(&options, || {
            let ended = if is_killed {
                server.kill9()
            } else {
                server.stop(Stop::Immediate)
            };
            ended.map_err(io::Error::other)
        });
        let BackupError::Postgres(error) = error else {
            panic!("{error:?}")
        };
        assert!(
            matches!(
                error.root(),
                Error::ConnectionLost { .. } | Error::NotAvailable { .. }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn a_sink_that_fails_ends_the_backup_and_leaves_nothing_on_the_server() {
    let Some(server) = filled() else { return };
    let error = interrupted(&options(&server), || {
        Err(io::Error::from(io::ErrorKind::StorageFull))
    });
    assert!(
        matches!(&error, BackupError::Sink(error) if error.kind() == io::ErrorKind::StorageFull),
        "{error:?}"
    );
    let left = "select (select count(*) from pg_replication_slots) + (select count(*) from pg_stat_replication)";
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.psql(left) != "0" {
        assert!(
            Instant::now() < deadline,
            "{}",
            server.psql("select * from pg_stat_replication")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_wal_sink_that_fails_ends_the_backup_too() {
    let Some(server) = filled() else { return };
    let (home, wal_home) = (temp_dir().unwrap(), temp_dir().unwrap());
    std::fs::create_dir(wal_home.path().join("pg_wal")).unwrap();
    let mut base = DirectorySink::new(home.path());
    let inner = DirectorySink::new(wal_home.path());
    let act = || Err(io::Error::from(io::ErrorKind::StorageFull));
    let mut wal = Interrupting {
        inner,
        seen: 0,
        after: 1,
        act,
    };
    let error = wire::take(
        &options(&server),
        &BackupRequest::new("full"),
        &mut base,
        &mut wal,
    )
    .map(drop)
    .unwrap_err();
    assert!(
        matches!(&error, BackupError::Sink(error) if error.kind() == io::ErrorKind::StorageFull),
        "{error:?}"
    );
}

#[test]
fn a_slow_sink_does_not_lose_the_wal_stream() {
    let made = builder(Major::V15)
        .conf("wal_sender_timeout", "6s")
        .start_or_skip();
    let Some(server) = made else { return };
    server.psql("create table t (n int, filler text)");
    let (home, wal_home) = (temp_dir().unwrap(), temp_dir().unwrap());
    std::fs::create_dir(wal_home.path().join("pg_wal")).unwrap();
    let mut base = DirectorySink::new(home.path());
    let mut slept = false;
    let inner = DirectorySink::new(wal_home.path());
    let mut wal = Interrupting {
        inner,
        seen: 0,
        after: 1,
        act: || {
            // Longer than the server's patience.
            std::thread::sleep(Duration::from_secs(9));
            slept = true;
            Ok(())
        },
    };
    let writer = std::thread::spawn({
        let client = server.client().clone();
        move || {
            client.try_psql(
                "postgres",
                "insert into t select g, repeat('x', 500) from generate_series(1, 60000) g",
            )
        }
    });
    let result = wire::take(
        &options(&server),
        &BackupRequest::new("slow"),
        &mut base,
        &mut wal,
    )
    .unwrap();
    writer.join().unwrap().unwrap();
    drop(wal);
    assert!(slept && !result.wal_segments.is_empty());
}

#[test]
fn a_server_that_is_starting_up_or_not_postgresql_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let web = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let options = ConnectOptions::parse(&format!("postgres://u@127.0.0.1:{port}/db")).unwrap();
    let error = refused(Client::connect(&options, Mode::Sql));
    assert!(matches!(error.root(), Error::Protocol { .. }), "{error:?}");
    web.join().unwrap();
}
