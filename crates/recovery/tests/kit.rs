//! The kit, opened with stock programs, its commands run as they stand there, on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and need not survive a power cut"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rekindle_recovery::{
    BackupRequest, backup, create_vault,
    kit::{KitKey, KitSeal, KitSource, KitState, kit_state, make_kit, open_kit},
};
use rekindle_stack::{Secret, Stack};
use rekindle_testing::{
    age as stock,
    postgres::{Major, Postgres},
    process::free_port,
    skip, temp_dir,
};
use rekindle_vault::{Progress, Vault, WalEffort, WalFile, age::Identity};

const PASSWORD: &str = "of the vault; it's $HOME";

/// A stack with a vault in `directory`; `more` stands in its `vault`.
fn stack(directory: &Path, url: &str, more: &str) -> (Stack, String) {
    let text = format!(
        "stack: test\nvault: {{ at: {0}/vault, password_file: {0}/password{more} }}\n\
         services:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{url}\", wal: push }} ] }}\n\
         contacts: [ {{ role: On call, reach: \"<+49 30 1234>\" }} ]\n",
        directory.display(),
    );
    fs::write(directory.join("password"), PASSWORD).unwrap();
    let config = directory.join("rekindle.yaml");
    fs::write(&config, &text).unwrap();
    (Stack::parse(&text, &config).unwrap().stack, text)
}

fn source<'a>(stack: &'a Stack, config: &'a str, vault: &'a Vault, seal: KitSeal) -> KitSource<'a> {
    KitSource {
        stack,
        config,
        vault,
        seal,
    }
}

/// The commands of the text, all of them.
fn commands(readme: &str) -> String {
    let until = readme.split("OR WITH REKINDLE").next().unwrap();
    let lines = until.lines().filter_map(|line| line.strip_prefix("    "));
    lines.fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_commands_of_the_kit_bring_a_server_back_with_stock_programs_only() {
    let directory = temp_dir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let Some(pg) = Postgres::builder(Major::V15)
        .wal_segment_size(1)
        .conf("archive_mode", "on")
        .conf("archive_command", "true")
        .start_or_skip()
    else {
        return;
    };
    let pushed = pg.data_dir().join("../pushed");
    fs::create_dir(&pushed).unwrap();
    fs::set_permissions(&pushed, fs::Permissions::from_mode(0o777)).unwrap();
    pg.psql(&format!(
        "alter system set archive_command = 'cp %p {}/%f'",
        pushed.display()
    ));
    pg.reload();
    let key_file = path("key");
    let Some(recipient) = skip::unless_available(stock::keygen(&key_file)) else {
        return;
    };
    let (stack, config) = stack(
        directory.path(),
        &pg.url(),
        &format!(", escrow: [{recipient}]"),
    );
    let vault = create_vault(&stack.vault).unwrap();
    pg.psql("create table ledger (number int); insert into ledger values (1)");
    let request = BackupRequest {
        stack: &stack,
        services: Vec::new(),
        tags: Vec::new(),
        progress: Arc::new(Progress::default()),
    };
    backup(&vault, &request).unwrap();
    pg.psql("insert into ledger values (2)");
    archive(&pg, &pushed, &vault);

    let seal = KitSeal::Escrow;
    let kit = make_kit(
        &source(&stack, &config, &vault, seal),
        jiff::Timestamp::now(),
    )
    .unwrap();
    let identity = vault.wal_identity().unwrap();
    for secret in [PASSWORD, identity.lines().last().unwrap()] {
        assert!(!kit.page.contains(secret));
    }
    // A new machine: the file, the key, the page, and nothing of Rekindle.
    let machine = path("machine");
    fs::create_dir(&machine).unwrap();
    fs::write(machine.join(&kit.file_name), &kit.sealed).unwrap();
    let opened = stock::age(["-d", "-i", key_file.to_str().unwrap()], &kit.sealed).unwrap();
    let readme = String::from_utf8_lossy(&opened).into_owned();
    let readme = readme.split("rekindle.yaml.original").next().unwrap();
    let restored = path("restored");
    let port = free_port().unwrap();
    let mut script = commands(readme);
    for (stands_there, here) in [
        ("apt-get install -y restic age zstd", "true"),
        ("KEY ", &format!("{} ", key_file.display())),
        ("/srv/restored-db", restored.to_str().unwrap()),
        ("5433", &port.to_string()),
    ] {
        assert!(script.contains(stands_there), "{stands_there}: {script}");
        script = script.replace(stands_there, here);
    }
    let script = format!(
        "set -e\n{script}su postgres -c \"psql -p {port} -Atc 'select sum(number) from ledger'\"\n"
    );
    fs::write(machine.join("commands"), &script).unwrap();
    for open in [directory.path(), machine.as_path()] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let ran = std::process::Command::new("bash")
        .arg("commands")
        .current_dir(&machine)
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    let base = restored.join("db/postgres/base");
    let stop = format!(
        "/usr/lib/postgresql/15/bin/pg_ctl -D {} -m immediate stop",
        base.display()
    );
    let _ = std::process::Command::new("su")
        .args(["postgres", "-c", &stop])
        .output();
    assert!(ran.status.success(), "{script}\n{said}\n{errors}");
    assert!(
        said.trim_end().ends_with("\n3"),
        "also what came after the point: {said}\n{errors}"
    );
}

/// Puts what the server archived into the vault.
fn archive(pg: &Postgres, pushed: &Path, vault: &Vault) {
    let last = pg.psql("select pg_walfile_name(pg_current_wal_lsn())");
    pg.psql("select pg_switch_wal()");
    let last = last.trim();
    for _ in 0..300 {
        if pushed.join(last).exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let system: u64 = pg
        .psql("select system_identifier from pg_control_system()")
        .trim()
        .parse()
        .unwrap();
    let archive = vault.wal_archive().unwrap();
    for entry in fs::read_dir(pushed).unwrap() {
        let entry = entry.unwrap();
        let file = WalFile::named(system, entry.file_name().to_str().unwrap()).unwrap();
        archive
            .put(&file, &fs::read(entry.path()).unwrap(), WalEffort::Fast)
            .unwrap();
    }
}

#[test]
fn an_opened_kit_is_a_configuration_that_opens_the_vault() {
    let directory = temp_dir().unwrap();
    let identity = Identity::random().unwrap();
    let more = format!(
        ", escrow: [{}], copies: [ {{ name: far, at: \"s3://bucket/shop?endpoint=https://s3.example.org\", credentials: \"id:se/cret+\" }} ]",
        identity.recipient()
    );
    let (stack, config) = stack(
        directory.path(),
        "postgres://u:hunter2@localhost:1/x",
        &more,
    );
    let vault = create_vault(&stack.vault).unwrap();
    let now = jiff::Timestamp::now();
    let passphrase = KitSeal::Passphrase(Secret::new("correct horse"));
    for (seal, key, wrong) in [
        (
            KitSeal::Escrow,
            KitKey::Identity(Box::new(identity)),
            KitKey::Identity(Box::new(Identity::random().unwrap())),
        ),
        (
            passphrase,
            KitKey::Passphrase(Secret::new("correct horse")),
            KitKey::Passphrase(Secret::new("battery staple")),
        ),
    ] {
        let kit = make_kit(&source(&stack, &config, &vault, seal), now).unwrap();
        assert!(!kit.page.contains("hunter2") && !kit.page.contains("se/cret+"));
        assert!(kit.page.contains("&lt;+49 30 1234&gt;") && kit.missing.is_empty());
        let to = tempfile::tempdir_in(directory.path()).unwrap();
        open_kit(kit.sealed.clone(), &wrong, to.path()).unwrap_err();
        let opened = open_kit(kit.sealed.clone(), &key, to.path()).unwrap();
        for file in &opened.files {
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let again = Stack::load(&opened.config).unwrap();
        assert!(
            again.unreadable_secrets.is_empty(),
            "{:?}",
            again.unreadable_secrets
        );
        rekindle_recovery::open_vault(&again.stack.vault).unwrap();
        let of_copy = again.stack.vault.copies[0].credentials.as_ref().unwrap();
        let keys = rekindle_stack::S3Credentials::parse(&of_copy.read().unwrap()).unwrap();
        assert_eq!(keys.secret_access_key.expose(), "se/cret+");
        let original = fs::read_to_string(to.path().join("rekindle.yaml.original")).unwrap();
        assert_eq!(original, config);
        open_kit(kit.sealed, &key, to.path()).unwrap_err();
    }
}

#[test]
fn a_kit_is_outdated_by_a_new_password_and_by_another_configuration() {
    let directory = temp_dir().unwrap();
    let (first, config) = stack(directory.path(), "postgres://localhost:1/x", "");
    let vault = create_vault(&first.vault).unwrap();
    assert_eq!(kit_state(&first, &vault).unwrap(), KitState::Missing);
    let now = jiff::Timestamp::now();
    let seal = || KitSeal::Passphrase(Secret::new("x"));
    let made = source(&first, &config, &vault, seal());
    make_kit(&made, now).unwrap().remember(&made, now).unwrap();
    assert_eq!(kit_state(&first, &vault).unwrap(), KitState::Fresh(now));
    let (other, _) = stack(directory.path(), "postgres://localhost:2/x", "");
    assert_eq!(kit_state(&other, &vault).unwrap(), KitState::Outdated(now));
    vault
        .add_key(&rekindle_vault::Password::new("another"))
        .unwrap();
    assert_eq!(kit_state(&first, &vault).unwrap(), KitState::Outdated(now));
}
