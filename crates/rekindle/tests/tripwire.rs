//! Somebody encrypts a database: the next backup tells, and what was there before is kept until
//! somebody has looked.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

mod support;

use rekindle_testing::postgres::{Major, Postgres};
use serde_json::{Value, json};
use support::Home;

/// Some twenty MiB of text, as it is and not compressed by the server.
const ORDINARY: &str = "create table letters (n int, body text);
    alter table letters alter body set storage external;
    insert into letters select n, repeat('Dear ' || n / 50 || ', all is well. ', 100)
        from generate_series(1, 10000) n";

/// Random bytes in the place of each letter.
const ENCRYPT: &str = "create table locked as select n, (
        select string_agg(uuid_send(gen_random_uuid()), ''::bytea)
        from generate_series(1, 150) where letters.n > 0) body from letters;
    drop table letters;
    alter table locked rename to letters";

fn home(pg: &Postgres) -> Home {
    let home = Home::with_vault();
    home.write(
        "rekindle.yaml",
        &format!(
            "stack: shop\nvault: {{ at: vault, password_file: vault-password }}\n\
             retention: {{ last: 1 }}\nservices:\n  db: {{ datasets: [ {{ kind: postgres, url: \"{}\" }} ] }}\n",
            pg.url()
        ),
    );
    home
}

fn forgotten(home: &Home) -> Value {
    home.json(&["retention", "apply", "--yes"])["forgotten"].clone()
}

#[test]
fn an_encrypted_table_is_told_and_nothing_is_forgotten_until_somebody_accepts_it() {
    let server = Postgres::builder(Major::V16).conf("autovacuum", "off");
    let Some(pg) = server.start_or_skip() else {
        return;
    };
    let home = home(&pg);
    pg.psql(ORDINARY);
    for day in 0..3 {
        pg.psql(&format!(
            "update letters set body = body || 'Yours. ' where n % 500 = {day}"
        ));
        // Everything is written anew and nothing is encrypted.
        if day == 2 {
            pg.psql("vacuum full letters; reindex database postgres");
        }
        let made = home.json(&["backup"]);
        assert_eq!(made["tripped"], json!([]), "day {day}: {made:#}");
    }
    assert_eq!(home.run(&["status"]).code, 0);
    let good = home.json(&["points"])["points"][1]["id"].clone();

    pg.psql(ENCRYPT);
    let ran = home.run(&["backup"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = home.json(&["points", "show", "latest"]);
    let record = &shown["manifest"]["datasets"][0]["tripwire"];
    for part in [
        "warning: SUSPICIOUS: db: as if encrypted: ",
        "nothing of db is forgotten from now on, by the hold `tripwire-db`",
        "rekindle hold remove tripwire-db --yes   once somebody has looked",
    ] {
        assert!(ran.stderr.contains(part), "{}{record:#}", ran.stderr);
    }
    let points = home.json(&["points"])["points"].clone();
    assert_eq!(points[3]["tags"], json!(["hold:tripwire-db"]), "{points:#}");
    assert_eq!(record["now"]["verdict"], "suspicious", "{record:#}");
    assert_eq!(record["history"].as_array().unwrap().len(), 3);

    // It is told until somebody has looked, and neither rule nor hand forgets anything.
    let status = home.run(&["status"]);
    assert_eq!(status.code, 1, "{}", status.stdout);
    assert!(
        status.stdout.contains("db: suspicious since"),
        "{}",
        status.stdout
    );
    let doctor = home.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("as if encrypted"),
        "{}",
        doctor.stdout
    );
    assert_eq!(forgotten(&home), 0);
    let id = good.as_str().unwrap();
    let refused = home.run(&["points", "forget", id, "--yes"]);
    refused.fails_with(1, "hold `tripwire-db` [hold]");
    let again = home.run(&["backup"]);
    assert_eq!(again.code, 0);
    let part = "SUSPICIOUS: db: an earlier backup was, and its hold `tripwire-db` still stands";
    assert!(again.stderr.contains(part), "{}", again.stderr);

    // Somebody has looked.
    home.ok(&["hold", "remove", "tripwire-db", "--yes"]);
    assert_eq!(home.run(&["status"]).code, 0);
    assert_eq!(forgotten(&home), 4);
    // It is usual now.
    pg.psql("update letters set body = substr(body, 2) || substr(body, 1, 1)");
    let made = home.json(&["backup"]);
    assert_eq!(made["tripped"], json!([]), "{made:#}");
}
