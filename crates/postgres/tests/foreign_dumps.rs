//! Dumps of every kind by the real tools, whole and cut: whole ones are read with their rows, no
//! other is taken for one.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic, and write files that need not survive"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rekindle_postgres::dump::foreign::{DumpForm, ForeignDump, ForeignError, Watch, inspect};
use rekindle_testing::hard;
use rekindle_testing::postgres::{Major, Postgres};
use rekindle_testing::temp_dir;

fn look(path: &Path) -> Result<ForeignDump, ForeignError> {
    let watch: Watch = Arc::new(|_| {});
    inspect(path, &watch)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// A server with hard data, and a directory for its dumps.
struct Made {
    server: Postgres,
    directory: tempfile::TempDir,
}

impl Made {
    fn new(major: Major) -> Option<Self> {
        let server = Postgres::builder(major).start_or_skip()?;
        let size = hard::Size {
            rows: 300,
            big_relation_mb: 0,
        };
        hard::populate(&server, size).unwrap();
        let directory = temp_dir().unwrap();
        Some(Self { server, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn dump(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut command = self.server.tool("pg_dump");
        run(command
            .args(arguments)
            .arg("--file")
            .arg(&path)
            .arg(hard::SHOP));
        path
    }

    fn dumpall(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        run(self.server.tool("pg_dumpall").arg("--file").arg(&path));
        path
    }

    /// Rows by table, as the server has them now.
    fn rows(&self, database: &str) -> Vec<(String, u64)> {
        let counting = self.server.psql_db(
            database,
            "select string_agg(format('select %L, count(*) from only %I.%I',
               n.nspname || '.' || c.relname, n.nspname, c.relname), ' union all ')
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind = 'r' and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'",
        );
        let counted = self.server.psql_db(database, &counting);
        let mut rows: Vec<_> = counted
            .lines()
            .map(|line| {
                let (table, rows) = line.rsplit_once('|').unwrap();
                (table.to_owned(), rows.parse().unwrap())
            })
            .collect();
        rows.sort();
        rows
    }
}

fn rows_of(report: &ForeignDump, database: &str) -> Vec<(String, u64)> {
    let named = |name: &Option<String>| name.as_deref().is_none_or(|name| name == database);
    let found = report
        .databases
        .iter()
        .find(|found| named(&found.name))
        .unwrap();
    let rows = found.tables.iter();
    let mut rows: Vec<_> = rows
        .map(|table| {
            (
                format!("{}.{}", table.schema, table.table),
                table.rows.unwrap(),
            )
        })
        .collect();
    rows.sort();
    rows
}

/// Places to cut at: the first and last bytes, and some in between.
fn cuts(length: u64) -> Vec<u64> {
    let mut cuts: Vec<u64> = (0..12).map(|part| length * part / 12).collect();
    cuts.extend([1, 3, 5, 7, 60]);
    cuts.extend((1..=3).map(|back| length.saturating_sub(back)));
    cuts.retain(|cut| *cut < length);
    cuts
}

/// Not one cut of a file may pass. `last` bytes at its end mean nothing.
fn assert_no_cut_passes(path: &Path, last: u64) {
    let whole = fs::read(path).unwrap();
    let cut_path = path.with_extension("cut");
    for cut in cuts(whole.len() as u64 - last) {
        fs::write(&cut_path, &whole[..cut as usize]).unwrap();
        let looked = look(&cut_path);
        assert!(
            looked.is_err(),
            "{} cut at {cut} of {}",
            path.display(),
            whole.len()
        );
    }
}

#[test]
fn every_form_of_every_version_is_known_with_the_rows_it_holds() {
    for major in Major::available() {
        let Some(made) = Made::new(major) else {
            continue;
        };
        let expected = made.rows(hard::SHOP);
        let number = major.number();
        let check = |path: &Path, form: DumpForm| {
            let report = look(path).unwrap();
            assert_eq!(report.form, form, "{number}");
            assert_eq!(report.server_major(), Some(number), "{form:?}");
            assert_eq!(report.tool_major(), Some(number), "{form:?}");
            assert_eq!(rows_of(&report, hard::SHOP), expected, "{number} {form:?}");
            assert!(
                report.meta_commands.is_empty(),
                "{:?}",
                report.meta_commands
            );
            assert!(
                report.reaching_statements.is_empty(),
                "{:?}",
                report.reaching_statements
            );
            assert!(!report.is_under_row_security);
            let of_shop = |found: &&_| {
                let found: &rekindle_postgres::dump::foreign::DatabaseDump = found;
                found.name.as_deref().is_none_or(|name| name == hard::SHOP)
            };
            let database = report.databases.iter().find(of_shop).unwrap();
            assert!(
                database.roles.contains(&hard::OWNER.to_owned()),
                "{:?}",
                database.roles
            );
            assert_eq!(database.extensions, hard::extensions(&made.server).unwrap());
            assert_eq!(database.client_encoding.as_deref(), Some("UTF8"));
            assert!(database.large_objects > 0, "{form:?}");
            assert!(!database.row_security_tables.is_empty(), "{form:?}");
            report
        };
        check(&made.dump("plain.sql", &[]), DumpForm::Plain);
        let created = check(&made.dump("create.sql", &["--create"]), DumpForm::Plain);
        assert_eq!(created.databases[0].name.as_deref(), Some(hard::SHOP));
        for (name, arguments, form) in [
            ("custom", &["-Fc"][..], DumpForm::Custom),
            ("custom0", &["-Fc", "-Z0"], DumpForm::Custom),
            ("tar", &["-Ft"], DumpForm::Tar),
            ("dir", &["-Fd"], DumpForm::Directory),
            ("dir0", &["-Fd", "-Z0"], DumpForm::Directory),
        ] {
            let report = check(&made.dump(name, arguments), form);
            let database = &report.databases[0];
            assert_eq!(database.name.as_deref(), Some(hard::SHOP));
            let encoding = database.creation.as_ref().unwrap().encoding.as_deref();
            assert_eq!(encoding, Some("UTF8"));
        }
        let cluster = check(&made.dumpall("all.sql"), DumpForm::PlainCluster);
        assert_eq!(
            rows_of(&cluster, hard::ODD),
            made.rows(hard::ODD),
            "{number}"
        );
        assert!(cluster.defined_roles.contains(&hard::OWNER.to_owned()));
        let told = format!("{cluster:?}");
        assert!(
            !told.contains("SCRAM-SHA-256$"),
            "a password hash in {told}"
        );
    }
}

#[test]
fn no_cut_of_any_form_passes_for_a_whole_dump() {
    for major in [Major::V15, Major::V17] {
        let Some(made) = Made::new(major) else {
            continue;
        };
        // What follows the closing line holds no data: `\n--\n\n`, or in newer versions two line
        // ends after the `\unrestrict` that must be there.
        assert_no_cut_passes(&made.dump("plain.sql", &[]), 2);
        assert_no_cut_passes(&made.dumpall("all.sql"), 6);
        assert_no_cut_passes(&made.dump("custom", &["-Fc"]), 0);
        assert_no_cut_passes(&made.dump("custom0", &["-Fc", "-Z0"]), 0);
        // Two blocks of zeros are the mark of the end; more may follow.
        assert_no_cut_passes(&made.dump("tar", &["-Ft"]), 0);
        if major == Major::V17 {
            assert_no_cut_passes(&made.dump("zstd", &["-Fc", "-Zzstd"]), 0);
            assert_no_cut_passes(&made.dump("lz4", &["-Fc", "-Zlz4"]), 0);
        }
    }
}

#[test]
fn a_directory_with_a_file_missing_or_cut_is_not_whole() {
    let Some(made) = Made::new(Major::V17) else {
        return;
    };
    for compression in ["gzip", "zstd", "lz4"] {
        let name = format!("dir-{compression}");
        let directory = made.dump(&name, &["-Fd", "--compress", compression]);
        look(&directory).unwrap();
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let whole = fs::read(&path).unwrap();
            // An empty file is what `pg_dump` writes for an empty large object, except with gzip.
            let is_object = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("blob_");
            let first = u64::from(is_object && compression != "gzip");
            for cut in cuts(whole.len() as u64)
                .into_iter()
                .filter(|cut| *cut >= first)
            {
                fs::write(&path, &whole[..cut as usize]).unwrap();
                assert!(look(&directory).is_err(), "{} cut at {cut}", path.display());
            }
            fs::remove_file(&path).unwrap();
            assert!(look(&directory).is_err(), "without {}", path.display());
            fs::write(&path, &whole).unwrap();
        }
        look(&directory).unwrap();
    }
}

#[test]
fn what_was_compressed_afterwards_is_read_through_and_no_cut_of_it_passes() {
    let Some(made) = Made::new(Major::V15) else {
        return;
    };
    let plain = made.dump("plain.sql", &[]);
    let custom = made.dump("custom", &["-Fc", "-Z0"]);
    for (tool, suffix) in [("gzip", "gz"), ("zstd", "zst"), ("lz4", "lz4")] {
        let is_there = Command::new(tool).arg("--version").output().is_ok();
        if !is_there {
            eprintln!("SKIPPED: no {tool} here");
            continue;
        }
        for source in [&plain, &custom] {
            let target = source.with_extension(suffix);
            let bytes = Command::new(tool)
                .args(["-c"])
                .arg(source)
                .output()
                .unwrap()
                .stdout;
            fs::write(&target, bytes).unwrap();
            let (bare, wrapped) = (look(source).unwrap(), look(&target).unwrap());
            assert!(wrapped.compression.is_some());
            assert_eq!(bare.databases, wrapped.databases);
            assert_no_cut_passes(&target, 0);
        }
    }
}

#[test]
fn changed_bytes_in_compressed_data_are_noticed() {
    let Some(made) = Made::new(Major::V15) else {
        return;
    };
    let path = made.dump("custom", &["-Fc"]);
    let whole = fs::read(&path).unwrap();
    let mut unnoticed = 0;
    for part in 1..40 {
        let mut changed = whole.clone();
        changed[whole.len() * part / 40] ^= 0x10;
        fs::write(&path, changed).unwrap();
        unnoticed += u32::from(look(&path).is_ok());
    }
    // Only the table of contents has no checksum: a byte of a name may change.
    assert!(unnoticed < 20, "{unnoticed} of 39");
}

#[test]
fn a_dump_under_row_security_and_commands_of_psqls_are_told() {
    let Some(made) = Made::new(Major::V15) else {
        return;
    };
    let path = made.dump("rls.sql", &["--enable-row-security"]);
    assert!(look(&path).unwrap().is_under_row_security);

    let text = fs::read_to_string(made.dump("plain.sql", &[])).unwrap();
    let evil = [
        "\\! touch /tmp/owned",
        "\\i /etc/passwd",
        "\\copy t from program 'id'",
        "SELECT 1 \\gexec",
    ];
    for command in evil {
        let place = "SET row_security = off;\n";
        let path = made.path("evil.sql");
        fs::write(
            &path,
            text.replacen(place, &format!("{place}{command}\n;"), 1),
        )
        .unwrap();
        let found = look(&path).unwrap().meta_commands;
        assert_eq!(found.len(), 1, "{command}");
    }
    let program = "COPY public.x FROM PROGRAM 'id';";
    let path = made.path("program.sql");
    fs::write(&path, text.replacen("SET row_security = off;", program, 1)).unwrap();
    assert_eq!(look(&path).unwrap().reaching_statements.len(), 1);
}

#[test]
fn what_is_no_dump_is_refused_by_what_it_is() {
    let directory = temp_dir().unwrap();
    let told = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        look(&path).unwrap_err()
    };
    assert!(matches!(
        told("empty.sql", b""),
        ForeignError::NotWhole { .. }
    ));
    assert!(matches!(
        told("a.sql", b"SELECT 1;\n"),
        ForeignError::NotADump { .. }
    ));
    assert!(matches!(
        told("b.dump", &[0, 1, 2, 3]),
        ForeignError::NotADump { .. }
    ));
    assert!(matches!(
        told("c.dump", b"PGD"),
        ForeignError::NotWhole { .. }
    ));
    let xz = told("d.sql", &[0xfd, b'7', b'z', b'X', b'Z', 0, 0]);
    assert!(xz.hint().unwrap().contains("xz -dk"), "{xz}");
    let utf16 = told("e.sql", &[0xff, 0xfe, b'-', 0, b'-', 0]);
    assert!(utf16.hint().unwrap().contains("iconv"), "{utf16}");
    let missing = look(&directory.path().join("missing")).unwrap_err();
    assert!(matches!(missing, ForeignError::Read { .. }));
    assert!(matches!(
        look(directory.path()).unwrap_err(),
        ForeignError::NotADump { .. }
    ));
}
