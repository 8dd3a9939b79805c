//! The example of the design is a contract: every key of it works.

use std::path::Path;

use rekindle_stack::*;

const EXAMPLE: &str = include_str!("example.yaml");

fn loaded() -> Loaded {
    Stack::parse(EXAMPLE, Path::new("/srv/nchat/rekindle.yaml")).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_example_is_read_without_a_warning() {
    let loaded = loaded();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.stack.name.as_str(), "nchat");
    assert_eq!(
        loaded.stack.runtime,
        Runtime::Compose {
            project: Some("nchat".into()),
            files: Vec::new(),
        }
    );
    let names: Vec<_> = loaded
        .stack
        .services
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["postgres", "redis", "uploads", "search", "index", "api"]
    );
}

#[test]
fn the_vault_and_its_copy_are_as_written() {
    let vault = loaded().stack.vault;
    assert_eq!(vault.at, VaultLocation::Local("/backups/vault".into()));
    assert!(
        matches!(vault.password, SecretSource::File(path) if path == Path::new("/run/secrets/vault-password"))
    );
    assert_eq!(vault.compression, Compression::Default);
    assert_eq!(vault.copies[0].at.to_string(), "s3://nchat-offsite/vault");
    assert_eq!(
        vault.copies[0].storage_class.as_deref(),
        Some("STANDARD_IA")
    );
}

#[test]
fn the_postgres_service_has_its_values_and_its_defaults() {
    let stack = loaded().stack;
    let service = stack.service("postgres").unwrap();
    assert_eq!(
        (
            service.rpo.unwrap().as_secs(),
            service.rto.unwrap().as_secs()
        ),
        (300, 1800)
    );
    assert_eq!(service.priority, Priority::Critical);
    let [Dataset::Postgres(postgres)] = service.datasets.as_slice() else {
        panic!()
    };
    assert_eq!(postgres.url.hosts(), [("localhost".to_owned(), Some(5432))]);
    assert!(postgres.physical && postgres.password.is_none());
    assert_eq!(
        postgres.logical,
        LogicalDump::Databases(vec!["nchat".into()])
    );
    assert_eq!(postgres.wal, WalMode::Stream);
    assert_eq!(postgres.method, CaptureMethod::Auto);
}

#[test]
fn the_other_datasets_are_as_written_and_relative_paths_begin_at_the_file() {
    let stack = loaded().stack;
    let dataset = |name: &str| stack.service(name).unwrap().datasets[0].clone();
    let Dataset::Redis(redis) = dataset("redis") else {
        panic!()
    };
    assert_eq!(redis.include, [RedisPart::Rdb, RedisPart::Aof]);
    let Dataset::S3(s3) = dataset("uploads") else {
        panic!()
    };
    assert_eq!(s3.buckets, ["uploads"]);
    let Dataset::Meilisearch(search) = dataset("search") else {
        panic!()
    };
    assert!(search.key.is_some() && stack.service("search").unwrap().optional);
    let Dataset::Files(files) = dataset("index") else {
        panic!()
    };
    assert_eq!(
        files.paths[1..],
        [
            "/srv/nchat/config/".into(),
            Path::new("/srv/nchat/.env").to_owned()
        ]
    );
    assert_eq!(files.exclude, ["*.tmp"]);
}

#[test]
fn what_is_to_be_done_kept_asked_and_told_is_as_written() {
    let stack = loaded().stack;
    let drill = &stack.schedule[2];
    assert_eq!(
        (drill.every.as_str(), drill.work),
        ("0 5 1 * *", ScheduledWork::Drill)
    );
    assert_eq!(
        (drill.scenario.as_deref(), drill.point.as_deref()),
        (Some("accidental-deletion"), Some("random"))
    );
    assert_eq!(stack.schedule[1].level, Some(CheckLevel::Queried));
    assert_eq!(
        (stack.retention.daily, stack.retention.yearly),
        (Some(30), None)
    );
    assert_eq!(stack.retention.wal.unwrap().to_string(), "7d");
    assert_eq!(stack.checks[0].expectation, Expectation::Value(0.into()));
    let Expectation::Equals(other) = &stack.checks[1].expectation else {
        panic!()
    };
    assert_eq!(
        (other.service.as_str(), other.database.as_deref()),
        ("postgres", None)
    );
    assert_eq!(stack.notify[0].on, [NotifyOn::Failure, NotifyOn::Recovery]);
    assert_eq!(stack.env.unwrap().allow, ["LOG_LEVEL", "SMTP_HOST"]);
    assert_eq!(stack.contacts[0].role, "on-call");
}

#[test]
fn the_health_check_expects_what_it_says_and_dependencies_start_first() {
    let stack = loaded().stack;
    let health = stack.service("api").unwrap().health.clone().unwrap();
    assert_eq!(
        health.http.unwrap().to_string(),
        "http://localhost:8080/healthz"
    );
    assert_eq!(health.expect["status"], "ok");
    let text = "stack: s\nvault: {at: v, password_env: P}\nservices:\n  a: {stateless: true, depends_on: [b, c]}\n  b: {stateless: true, depends_on: [c]}\n  c: {stateless: true}\n";
    let stack = Stack::parse(text, Path::new("r.yaml")).unwrap().stack;
    let order: Vec<_> = stack
        .start_order()
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(order, ["c", "b", "a"]);
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    // The webhook is a secret, and masked: no URL any more.
    let shown = show(&loaded().stack);
    assert!(shown.contains("webhook: \"***\""), "{shown}");
    let shown = shown.replace("webhook: \"***\"", "webhook_env: HOOK");
    let again = Stack::parse(&shown, Path::new("/elsewhere/rekindle.yaml"));
    let again = again.unwrap_or_else(|e| panic!("{e}\n{shown}")).stack;
    assert_eq!(show(&again), shown);
}

#[test]
fn a_template_is_read_without_a_warning() {
    let name: Name = "shop".parse().unwrap();
    let at = VaultLocation::parse("/backups/my vault: 1", Path::new("/")).unwrap();
    let url = ServiceUrl::parse(
        "postgres://app@localhost/shop?sslmode=disable",
        &["postgres"],
    )
    .unwrap();
    for postgres in [None, Some(&url)] {
        let text = template(
            &name,
            &at,
            None,
            Path::new("/etc/rekindle/pass word"),
            &postgres.map_or(TemplateServices::Example, TemplateServices::Postgres),
        );
        let loaded = Stack::parse(&text, Path::new("/etc/rekindle/rekindle.yaml"));
        let loaded = loaded.unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(loaded.warnings.is_empty());
        assert_eq!(loaded.stack.vault.at, at);
        assert!(
            matches!(&loaded.stack.vault.password, SecretSource::File(path) if path.ends_with("pass word"))
        );
        assert_eq!(
            loaded.stack.service("postgres").is_some(),
            postgres.is_some()
        );
    }
    let at = VaultLocation::parse("s3://bucket/vault", Path::new("/")).unwrap();
    let keys = Some(Path::new("/run/access keys"));
    let text = template(
        &name,
        &at,
        keys,
        Path::new("/p"),
        &TemplateServices::Example,
    );
    let loaded = Stack::parse(&text, Path::new("/r.yaml")).unwrap();
    assert!(loaded.warnings.is_empty());
    assert!(
        matches!(&loaded.stack.vault.credentials, Some(SecretSource::File(path)) if path.ends_with("access keys"))
    );
}

#[test]
fn the_commented_out_part_of_a_template_is_right_as_well() {
    let name: Name = "shop".parse().unwrap();
    let at = VaultLocation::Local("/backups".into());
    let url = ServiceUrl::parse("postgres://app@localhost/shop", &["postgres"]).unwrap();
    let text = template(
        &name,
        &at,
        None,
        Path::new("/p"),
        &TemplateServices::Postgres(&url),
    );
    let uncommented: String = text
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest)
                if rest.trim_end().ends_with(['}', ':', ']'])
                    || rest.ends_with("stateless: true") =>
            {
                format!(
                    "{}{rest}\n",
                    " ".repeat(line.len() - line.trim_start().len())
                )
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let loaded = Stack::parse(&uncommented, Path::new("/r.yaml"));
    let stack = loaded
        .unwrap_or_else(|e| panic!("{e}\n{uncommented}"))
        .stack;
    assert_eq!(
        (
            stack.services.len(),
            stack.schedule.len(),
            stack.checks.len()
        ),
        (2, 2, 1)
    );
    assert_eq!(stack.vault.copies.len(), 1);
}

#[test]
fn the_other_side_of_equals_inherits_the_database_only_of_the_same_service() {
    let text = "stack: s
vault: { at: v, password_env: P }
services:
  a: { datasets: [ { kind: postgres, url: 'postgres://a' } ] }
  b: { datasets: [ { kind: postgres, url: 'postgres://b' } ] }
checks:
  - { name: same, service: a, database: x, sql: s, equals: { sql: s } }
  - { name: other, service: a, database: x, sql: s, equals: { service: b, sql: s } }
";
    let stack = Stack::parse(text, Path::new("r.yaml"))
        .unwrap_or_else(|e| panic!("{e}"))
        .stack;
    let asked = stack.checks.iter().map(|check| match &check.expectation {
        Expectation::Equals(query) => (query.service.as_str(), query.database.as_deref()),
        Expectation::Value(value) => panic!("{value}"),
    });
    assert_eq!(asked.collect::<Vec<_>>(), [("a", Some("x")), ("b", None)]);
}

#[test]
fn a_byte_order_mark_moves_no_column() {
    let errors = Stack::parse("\u{feff}stakc: s\n", Path::new("r.yaml")).unwrap_err();
    let unknown = errors
        .problems()
        .iter()
        .find(|p| p.message.contains("`stakc`"));
    let problem = unknown.unwrap_or_else(|| panic!("{errors}"));
    assert_eq!((problem.line, problem.column), (1, 1));
    assert!(
        problem.to_string().contains("1 | stakc: ***\n  | ^^^^^\n"),
        "{problem}"
    );
}
