//! The configuration as it is in effect: defaults filled in, secrets masked.

use crate::model::{
    Check, CommandLine, Dataset, Expectation, HealthCheck, LogicalDump, ObjectLock,
    PostgresDataset, Retention, Run, Runtime, ScheduledTask, Service, SqlQuery, Stack,
    StoreOptions, Tripwire, Vault, VaultCopy, WalMode,
};
use crate::secret::SecretSource;
use crate::yaml::Yaml;

/// The effective configuration as YAML that can be read again, but for its secrets.
///
/// A secret is shown by where it comes from (`password_file: …`); one written in the file, and a
/// password in a URL, is `***`. Paths are absolute.
pub fn show(stack: &Stack) -> String {
    let services = stack
        .services
        .iter()
        .map(|s| (s.name.to_string(), service(s)))
        .collect();
    let mut map = Entries::default();
    map.add("stack", Yaml::text(&stack.name));
    map.add("runtime", runtime(&stack.runtime));
    map.add("vault", vault(&stack.vault));
    map.add("services", Yaml::Map(services));
    map.add(
        "schedule",
        Yaml::List(stack.schedule.iter().map(task).collect()),
    );
    map.add("retention", retention(&stack.retention));
    map.add("tripwire", tripwire(&stack.tripwire));
    map.add(
        "checks",
        Yaml::List(stack.checks.iter().map(check).collect()),
    );
    let notify = stack.notify.iter().map(|to| {
        let mut map = Entries::default();
        map.secret("webhook", Some(&to.webhook));
        map.add("on", Yaml::list(&to.on));
        map.done()
    });
    map.add("notify", Yaml::List(notify.collect()));
    if let Some(env) = &stack.env {
        let mut inner = Entries::default();
        inner.add("file", Yaml::text(env.file.display()));
        inner.add("allow", Yaml::list(&env.allow));
        map.add("env", inner.done());
    }
    let contacts = stack.contacts.iter().map(|contact| {
        let mut map = Entries::default();
        map.add("role", Yaml::text(&contact.role));
        map.add("reach", Yaml::text(&contact.reach));
        map.done()
    });
    map.add("contacts", Yaml::List(contacts.collect()));
    map.done().document()
}

/// The entries of a mapping, one after the other.
#[derive(Default)]
struct Entries(Vec<(String, Yaml)>);

impl Entries {
    fn add(&mut self, key: &str, value: Yaml) {
        self.0.push((key.to_owned(), value));
    }

    fn maybe(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.add(key, Yaml::text(value));
        }
    }

    fn secret(&mut self, key: &str, source: Option<&SecretSource>) {
        match source {
            Some(SecretSource::File(path)) => {
                self.add(&format!("{key}_file"), Yaml::text(path.display()));
            }
            Some(SecretSource::Env(name) | SecretSource::EnvOrFile { name, .. }) => {
                self.add(&format!("{key}_env"), Yaml::text(name))
            }
            Some(SecretSource::Inline(secret)) => self.add(key, Yaml::text(secret)),
            None => {}
        }
    }

    fn done(self) -> Yaml {
        Yaml::Map(self.0)
    }
}

fn runtime(runtime: &Runtime) -> Yaml {
    let mut map = Entries::default();
    let kind = match runtime {
        Runtime::Compose { .. } => "compose",
        Runtime::Kubernetes { .. } => "kubernetes",
        Runtime::Systemd { .. } => "systemd",
        Runtime::Process => "process",
    };
    map.add("kind", Yaml::text(kind));
    match runtime {
        Runtime::Compose { project, files } => {
            map.maybe("project", project.as_ref());
            if !files.is_empty() {
                let files: Vec<_> = files.iter().map(|file| file.display()).collect();
                map.add("files", Yaml::list(&files));
            }
        }
        Runtime::Kubernetes { namespace, context } => {
            map.maybe("namespace", namespace.as_ref());
            map.maybe("context", context.as_ref());
        }
        Runtime::Systemd { bus } => map.maybe("bus", bus.as_ref()),
        Runtime::Process => {}
    }
    map.done()
}

fn vault(vault: &Vault) -> Yaml {
    let mut map = Entries::default();
    map.add("at", Yaml::text(&vault.at));
    map.secret("password", Some(&vault.password));
    map.secret("credentials", vault.credentials.as_ref());
    map.maybe("storage_class", vault.storage_class.as_ref());
    add_object_lock(vault.object_lock, &mut map);
    add_store(&vault.store, &mut map);
    map.add("compression", Yaml::text(vault.compression));
    if let Some(size) = vault.pack_size {
        map.add("pack_size", Yaml::plain(size));
    }
    if let Some(percent) = vault.parity {
        map.add("parity", Yaml::text(format_args!("{percent}%")));
    }
    map.add(
        "copies",
        Yaml::List(vault.copies.iter().map(copy).collect()),
    );
    if !vault.escrow.is_empty() {
        map.add("escrow", Yaml::list(&vault.escrow));
    }
    map.done()
}

fn copy(copy: &VaultCopy) -> Yaml {
    let mut map = Entries::default();
    map.add("name", Yaml::text(&copy.name));
    map.add("at", Yaml::text(&copy.at));
    map.maybe("storage_class", copy.storage_class.as_ref());
    map.secret("credentials", copy.credentials.as_ref());
    map.secret("password", copy.password.as_ref());
    if let Some(rules) = &copy.retention {
        map.add("retention", retention(rules));
    }
    add_object_lock(copy.object_lock, &mut map);
    add_store(&copy.store, &mut map);
    map.done()
}

fn add_object_lock(lock: Option<ObjectLock>, map: &mut Entries) {
    if let Some(lock) = lock {
        let mut inner = Entries::default();
        inner.add("mode", Yaml::text(lock.mode));
        inner.add("days", Yaml::plain(lock.days));
        map.add("object_lock", inner.done());
    }
}

/// What is set; without anything, nothing.
fn add_store(store: &StoreOptions, map: &mut Entries) {
    let mut inner = Entries::default();
    if let Some(path_style) = store.path_style {
        inner.add("path_style", Yaml::plain(path_style));
    }
    inner.maybe("ca_file", store.ca_file.as_ref().map(|path| path.display()));
    inner.maybe("encryption", store.encryption.as_ref());
    for (key, limit) in [
        ("upload_limit", store.upload_limit),
        ("download_limit", store.download_limit),
    ] {
        if let Some(limit) = limit {
            inner.add(key, Yaml::plain(limit));
        }
    }
    inner.maybe("retry_for", store.retry_for);
    inner.maybe(
        "ssh_config",
        store.ssh_config.as_ref().map(|path| path.display()),
    );
    if !inner.0.is_empty() {
        map.add("store", inner.done());
    }
}

fn service(service: &Service) -> Yaml {
    let mut map = Entries::default();
    if !service.datasets.is_empty() {
        map.add(
            "datasets",
            Yaml::List(service.datasets.iter().map(dataset).collect()),
        );
    }
    map.add("stateless", Yaml::plain(service.stateless));
    map.add("depends_on", Yaml::list(&service.depends_on));
    map.maybe("rpo", service.rpo);
    map.maybe("rto", service.rto);
    map.add("priority", Yaml::text(service.priority));
    map.add("optional", Yaml::plain(service.optional));
    if let Some(health) = &service.health {
        map.add("health", health_check(health));
    }
    map.add("during_backup", Yaml::text(service.during_backup));
    map.maybe("before_backup", service.before_backup.as_ref());
    map.maybe("after_backup", service.after_backup.as_ref());
    map.maybe("hook_limit", service.hook_limit);
    map.maybe("start_limit", service.start_limit);
    if let Some(run) = &service.run {
        map.add("run", how_it_runs(run));
    }
    map.maybe("unit", service.unit.as_ref());
    if let Some(rules) = &service.retention {
        map.add("retention", retention(rules));
    }
    if let Some(limits) = &service.tripwire {
        map.add("tripwire", tripwire(limits));
    }
    map.done()
}

fn health_check(health: &HealthCheck) -> Yaml {
    let mut map = Entries::default();
    map.maybe("http", health.http.as_ref());
    map.maybe("tcp", health.tcp.as_ref());
    if let Some(command) = &health.command {
        map.add("command", command_line(command));
    }
    let fields = health.expect.iter();
    let fields: Vec<_> = fields
        .map(|(key, value)| (key.clone(), json(value)))
        .collect();
    if health.http.is_some() {
        map.add("expect", Yaml::Map(fields));
    }
    map.done()
}

fn how_it_runs(run: &Run) -> Yaml {
    let mut map = Entries::default();
    map.add("command", command_line(&run.command));
    map.add("directory", Yaml::text(run.directory.display()));
    // Values of an environment are secrets often enough; the names are not.
    let env = run.env.iter();
    let env: Vec<_> = env
        .map(|(name, value)| (name.clone(), Yaml::text(value)))
        .collect();
    map.add("env", Yaml::Map(env));
    map.maybe("env_file", run.env_file.as_ref().map(|path| path.display()));
    map.maybe("user", run.user.as_ref());
    map.add("restart", Yaml::text(run.restart));
    map.add("stop_signal", Yaml::text(run.stop_signal));
    map.maybe("log", run.log.as_ref().map(|path| path.display()));
    map.maybe("pid_file", run.pid_file.as_ref().map(|path| path.display()));
    map.done()
}

fn command_line(command: &CommandLine) -> Yaml {
    match command {
        CommandLine::Program(argv) => Yaml::list(argv),
        CommandLine::Shell(line) => Yaml::text(line),
    }
}

fn dataset(dataset: &Dataset) -> Yaml {
    let mut map = Entries::default();
    map.add("kind", Yaml::text(dataset.kind()));
    match dataset {
        Dataset::Postgres(postgres) => add_postgres(postgres, &mut map),
        Dataset::Redis(redis) => {
            map.add("url", Yaml::text(&redis.url));
            map.secret("password", redis.password.as_ref());
            map.add("include", Yaml::list(&redis.include));
            for (key, path) in [
                ("data_directory", &redis.data_directory),
                ("ca_file", &redis.ca_file),
                ("cert_file", &redis.cert_file),
                ("key_file", &redis.key_file),
            ] {
                if let Some(path) = path {
                    map.add(key, Yaml::text(path.display()));
                }
            }
        }
        Dataset::S3(s3) => {
            map.add("endpoint", Yaml::text(&s3.endpoint));
            map.add("buckets", Yaml::list(&s3.buckets));
            map.secret("credentials", Some(&s3.credentials));
            map.maybe("region", s3.region.as_ref());
            map.maybe("path_style", s3.path_style);
            map.maybe("ca_file", s3.ca_file.as_ref().map(|path| path.display()));
            map.add("versions", Yaml::text(s3.versions));
            map.add("tags", Yaml::text(s3.tags));
        }
        Dataset::Meilisearch(search) => {
            map.add("url", Yaml::text(&search.url));
            map.secret("key", search.key.as_ref());
            let dumps = search.dump_directory.as_ref();
            map.maybe("dump_directory", dumps.map(|path| path.display()));
            map.maybe("task_limit", search.task_limit);
            map.maybe("rebuild", search.rebuild.as_ref());
        }
        Dataset::Files(files) => {
            let paths: Vec<_> = files.paths.iter().map(|path| path.display()).collect();
            map.add("paths", Yaml::list(&paths));
            map.add("exclude", Yaml::list(&files.exclude));
        }
    }
    map.done()
}

fn add_postgres(postgres: &PostgresDataset, map: &mut Entries) {
    map.add("url", Yaml::text(&postgres.url));
    map.secret("password", postgres.password.as_ref());
    map.add("physical", Yaml::plain(postgres.physical));
    map.add(
        "logical",
        match &postgres.logical {
            LogicalDump::None => Yaml::plain(false),
            LogicalDump::All => Yaml::text("all"),
            LogicalDump::Databases(names) => Yaml::list(names),
        },
    );
    map.add(
        "wal",
        match postgres.wal {
            WalMode::Off => Yaml::plain(false),
            WalMode::Stream => Yaml::text("stream"),
            WalMode::Push => Yaml::text("push"),
        },
    );
    map.add("method", Yaml::text(postgres.method));
    map.maybe(
        "data_directory",
        postgres.data_directory.as_ref().map(|path| path.display()),
    );
    map.maybe(
        "bin_dir",
        postgres.bin_dir.as_ref().map(|path| path.display()),
    );
    map.maybe("wal_slot", postgres.wal_slot.as_ref());
    map.maybe(
        "wal_spool",
        postgres.wal_spool.as_ref().map(|path| path.display()),
    );
    if let Some(limit) = postgres.wal_spool_limit {
        map.add("wal_spool_limit", Yaml::plain(limit));
    }
    if postgres.wal_synchronous {
        map.add("wal_synchronous", Yaml::plain(true));
    }
    map.maybe("stop_command", postgres.stop_command.as_ref());
    map.maybe("start_command", postgres.start_command.as_ref());
}

fn task(task: &ScheduledTask) -> Yaml {
    let mut map = Entries::default();
    map.add("every", Yaml::text(&task.every));
    map.add("do", Yaml::text(task.work));
    map.maybe("level", task.level);
    map.maybe("scenario", task.scenario.as_ref());
    map.maybe("point", task.point.as_ref());
    map.done()
}

fn retention(retention: &Retention) -> Yaml {
    let mut map = Entries::default();
    let counts = [
        ("last", retention.last),
        ("hourly", retention.hourly),
        ("daily", retention.daily),
        ("weekly", retention.weekly),
        ("monthly", retention.monthly),
        ("yearly", retention.yearly),
    ];
    for (key, count) in counts {
        if let Some(count) = count {
            map.add(key, Yaml::plain(count));
        }
    }
    map.maybe("pre_change", retention.pre_change);
    map.maybe("wal", retention.wal);
    if !retention.keep_tags.is_empty() {
        map.add("keep_tags", Yaml::list(&retention.keep_tags));
    }
    map.done()
}

/// What is set; what is not depends on the kind of data.
fn tripwire(tripwire: &Tripwire) -> Yaml {
    let Tripwire::On(limits) = tripwire else {
        return Yaml::plain(false);
    };
    let mut map = Entries::default();
    let shares = [
        ("encrypted", limits.encrypted),
        ("changed", limits.changed),
        ("gone", limits.gone),
    ];
    for (key, share) in shares {
        map.maybe(key, share.map(|share| format!("{share}%")));
    }
    map.done()
}

fn check(check: &Check) -> Yaml {
    let mut map = Entries::default();
    map.add("name", Yaml::text(&check.name));
    add_query(&check.query, &mut map);
    match &check.expectation {
        Expectation::Value(value) => map.add("expect", json(value)),
        Expectation::Equals(query) => {
            let mut inner = Entries::default();
            add_query(query, &mut inner);
            map.add("equals", inner.done());
        }
    }
    map.done()
}

fn add_query(query: &SqlQuery, map: &mut Entries) {
    map.add("service", Yaml::text(&query.service));
    map.maybe("database", query.database.as_ref());
    map.add("sql", Yaml::text(&query.sql));
}

fn json(value: &serde_json::Value) -> Yaml {
    match value {
        serde_json::Value::String(text) => Yaml::text(text),
        other => Yaml::plain(other),
    }
}
