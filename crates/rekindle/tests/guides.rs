//! The guides, followed literally: every command of a guide runs in a shell, as it is written.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use std::{fmt::Write as _, fs, path::Path, process::Command};

use rekindle_testing::{free_port, postgres::Major, skip, temp_dir};

/// The commands of a guide, in order.
fn commands(guide: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/guides")
        .join(guide);
    let text = fs::read_to_string(path).unwrap();
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks.collect::<Vec<_>>().join("\n")
}

/// Where an accident's place is read off the output, a script has to look it up.
const LOOKED_UP: &str = r#"AT=lsn:$(rekindle wal find --json | python3 -c '
import json, sys
for event in json.load(sys.stdin)["happenings"]:
    if any(table["deleted"] >= 50000 for table in event["tables"]):
        print(event["before"])')"#;

#[test]
fn an_accidental_delete_is_undone_as_the_guide_says() {
    if uzers::get_effective_uid() != 0 {
        skip::record("the guides: they are for root, and this is another user");
        return;
    }
    let Some(installation) = skip::unless_available(Major::V15.installation()) else {
        return;
    };
    let home = temp_dir().unwrap();
    let place = home.path().join("accident").display().to_string();
    let mut guide = commands("accidental-delete.md");
    for (written, here) in [
        ("/var/tmp/accident", place.as_str()),
        (
            "/usr/lib/postgresql/15/bin",
            &installation.bin_dir().display().to_string(),
        ),
        ("5498", &free_port().unwrap().to_string()),
        ("AT=lsn:0/0    # the value that `wal find` shows", LOOKED_UP),
    ] {
        assert!(guide.contains(written), "the guide has no `{written}`");
        guide = guide.replace(written, here);
    }
    let expected = [
        ("SELECT count(*) FROM orders_before\"", "50100"),
        ("psql -c \"SELECT count(*) FROM orders\"", "50100"),
    ];
    // The guide's receiver must not outlive a guide that fails.
    let mut script = String::from(
        "set -euxo pipefail\ntrap '[[ -z ${RECEIVER-} ]] || kill $RECEIVER 2>/dev/null || true' EXIT\n",
    );
    for line in guide.lines() {
        let checked = expected.iter().find(|(command, _)| line.ends_with(command));
        match checked {
            Some((_, answer)) => {
                let asked = line.replace("psql -c", "psql -Atc");
                let _ = writeln!(script, "[[ $({asked}) == {answer} ]]");
            }
            None if line.contains("SELECT name FROM customers") => {
                let asked = line.replace("psql -c", "psql -Atc");
                let _ = writeln!(
                    script,
                    "[[ $({asked}) == 'a customer of after the accident' ]]"
                );
            }
            None => {
                let _ = writeln!(script, "{line}");
            }
        }
    }
    let program = Path::new(env!("CARGO_BIN_EXE_rekindle")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(home.path())
        .env("PATH", path)
        .env_remove("REKINDLE_CONFIG")
        .output()
        .unwrap();
    if !output.status.success() {
        let stop = format!(
            "{}/pg_ctl -D {place}/live -m immediate stop",
            installation.bin_dir().display()
        );
        let _ = Command::new("su").args(["postgres", "-c", &stop]).output();
        panic!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
