//! Units of a machine become a stack.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

use std::path::{Path, PathBuf};

use rekindle_stack::{
    FILE_NAME, Secret, Stack, TemplateServices, VaultLocation,
    compose::Words,
    discover::{
        ConfigurationFiles, Unit, drop_in, is_known, propose_units, read_configuration,
        recognise_unit, recommend_units,
    },
    template,
};

fn unit(name: &str, argv: &str) -> Unit {
    Unit {
        name: name.into(),
        argv: Words(argv.split_whitespace().map(str::to_owned).collect()),
        restart: "always".into(),
        ..Unit::default()
    }
}

fn settings(path: &str, text: &str) -> Option<(PathBuf, Secret)> {
    Some((path.into(), Secret::new(text)))
}

/// As Debian's packages have them.
fn machine() -> Vec<Unit> {
    let postgres = Unit {
        restart: "no".into(),
        configuration: settings(
            "/etc/postgresql/15/main/postgresql.conf",
            "# data_directory = '/wrong'\ndata_directory = '/var/lib/postgresql/15/main'\t\t# use data\nport = 5433\t# (change)\n\
             unix_socket_directories = '/var/run/postgresql'\n",
        ),
        ..unit(
            "postgresql@15-main.service",
            "/usr/bin/pg_ctlcluster --skip-systemctl-redirect 15-main start",
        )
    };
    let redis = Unit {
        directories: ["/var/lib/redis", "/var/log/redis"]
            .map(PathBuf::from)
            .to_vec(),
        configuration: settings(
            "/etc/redis/redis.conf",
            "port 6380\ndir /var/lib/redis\nappendonly yes\nrequirepass \"s3cret\"\n# port 1\n",
        ),
        ..unit(
            "redis-server.service",
            "/usr/bin/redis-server /etc/redis/redis.conf --daemonize no",
        )
    };
    let search = Unit {
        environment: [("MEILI_MASTER_KEY".to_owned(), Secret::new("k3y"))].into(),
        ..unit(
            "meilisearch.service",
            "/usr/bin/meilisearch --db-path /var/lib/meilisearch/data --http-addr 127.0.0.1:7701",
        )
    };
    let shop = Unit {
        description: "The shop".into(),
        directories: vec!["/srv/shop".into()],
        needs: [
            "postgresql@15-main.service",
            "network.target",
            "redis-server.service",
        ]
        .map(str::to_owned)
        .to_vec(),
        restart: "no".into(),
        ..unit("shop.service", "/srv/shop/bin/shop --serve")
    };
    vec![postgres, redis, search, shop]
}

fn text(units: &[Unit]) -> String {
    let proposal = propose_units(units, Path::new("/etc/rekindle"));
    let vault = VaultLocation::Local("/backups".into());
    let services = TemplateServices::Project(&proposal);
    let name = "s".parse().unwrap();
    template(
        &name,
        &vault,
        None,
        Path::new("/etc/rekindle/pw"),
        &services,
    )
}

#[test]
fn units_of_a_machine_become_a_stack_that_is_valid() {
    let text = text(&machine());
    let file = Path::new("/etc/rekindle").join(FILE_NAME);
    let stack = Stack::parse(&text, &file)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .stack;
    let names: Vec<&str> = stack.services.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["postgresql", "redis-server", "meilisearch", "shop"]);
    assert_eq!(stack.services[0].unit(), "postgresql@15-main.service");
    assert_eq!(stack.services[3].depends_on.len(), 2, "{text}");
    for expected in [
        "runtime: { kind: systemd }",
        "?host=/var/run/postgresql&port=5433",
        "data_directory: /var/lib/postgresql/15/main",
        "redis://localhost:6380",
        "include: [rdb, aof]",
        "password_file: rekindle-secrets/redis-server-password",
        "http://localhost:7701/health",
        "paths: [/srv/shop]",
        "paths: [/etc/redis/redis.conf]",
    ] {
        let runtime = expected.replace("runtime: { kind: systemd }", "kind: systemd");
        assert!(text.contains(&runtime), "{expected} in\n{text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("k3y"), "{text}");
}

#[test]
fn programs_are_recognised_by_their_file_or_their_unit() {
    for (unit, known) in [
        (
            unit(
                "db.service",
                "/usr/lib/postgresql/15/bin/postgres -D /srv/pg",
            ),
            Some("PostgreSQL"),
        ),
        (unit("postgresql.service", "/bin/true"), None),
        (
            unit("elasticsearch.service", "/usr/share/elasticsearch/bin/run"),
            Some("Elasticsearch"),
        ),
        (
            unit("mariadb.service", "/usr/sbin/mariadbd $MYSQLD_OPTS"),
            Some("MariaDB"),
        ),
        (
            unit(
                "numa.service",
                "/usr/bin/numactl --interleave=all /usr/bin/mongod",
            ),
            Some("MongoDB"),
        ),
        (unit("cron.service", "/usr/sbin/cron -f"), None),
        (unit("ssh.service", "/usr/sbin/sshd -D"), None),
    ] {
        assert_eq!(recognise_unit(&unit).product, known, "{}", unit.name);
        assert_eq!(is_known(&unit), known.is_some(), "{}", unit.name);
    }
    assert!(
        !is_known(&unit("nginx.service", "/usr/sbin/nginx")),
        "it keeps nothing"
    );
}

#[test]
fn two_instances_of_one_unit_have_names_of_their_own() {
    let run = "/usr/bin/pg_ctlcluster 15-a start";
    let units = [
        unit("postgresql@15-a.service", run),
        unit("postgresql@15-b.service", run),
    ];
    let proposal = propose_units(&units, Path::new("/etc"));
    let names: Vec<&str> = proposal
        .services
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(names, ["postgresql-15-a", "postgresql-15-b"]);
}

#[test]
fn where_a_programs_settings_lie_is_told_by_its_command() {
    for (line, expected) in [
        (
            "/usr/bin/redis-server /etc/redis/redis.conf",
            Some("/etc/redis/redis.conf"),
        ),
        ("/usr/bin/redis-server --port 0", None),
        (
            "/usr/bin/pg_ctlcluster -m fast 15-main start",
            Some("/etc/postgresql/15/main/postgresql.conf"),
        ),
        (
            "/usr/bin/postgres -D /srv/pg",
            Some("/srv/pg/postgresql.conf"),
        ),
        (
            "/usr/bin/postgres -D /srv/pg -c config_file=/etc/pg.conf",
            Some("/etc/pg.conf"),
        ),
        ("/usr/sbin/nginx -c /etc/nginx.conf", None),
    ] {
        let mut unit = unit("x.service", line);
        read_configuration(&mut unit, &Everywhere);
        let found = unit.configuration.map(|(path, _)| path);
        assert_eq!(found.as_deref(), expected.map(Path::new), "{line}");
    }
}

/// Every file is there, and empty.
struct Everywhere;

impl ConfigurationFiles for Everywhere {
    fn text(&self, _: &Path) -> Option<String> {
        Some(String::new())
    }

    fn names(&self, _: &Path) -> Vec<String> {
        Vec::new()
    }
}

/// Paths and texts.
struct Files(&'static [(&'static str, &'static str)]);

impl ConfigurationFiles for Files {
    fn text(&self, path: &Path) -> Option<String> {
        let (_, text) = self.0.iter().find(|(own, _)| Path::new(own) == path)?;
        Some((*text).to_owned())
    }

    fn names(&self, directory: &Path) -> Vec<String> {
        let paths = self.0.iter().map(|(path, _)| Path::new(path));
        let inside = paths.filter(|path| path.parent() == Some(directory));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        names.rev().map(str::to_owned).collect()
    }
}

fn proposed(argv: &str, files: Files) -> String {
    let mut unit = unit("x.service", argv);
    read_configuration(&mut unit, &files);
    text(&[unit])
}

#[test]
fn what_a_configuration_of_postgresql_includes_and_what_alter_system_set_count() {
    let line = "/usr/bin/postgres -D /srv/pg -c config_file=/etc/pg/main.conf";
    let included = &[
        (
            "/etc/pg/main.conf",
            "port = 7001\ninclude 'first.conf'\ninclude_dir = 'conf.d' # more\n#include 'not.conf'\ninclude_if_exists 'no.conf'\n",
        ),
        (
            "/etc/pg/first.conf",
            "port = 7002\nunix_socket_directories = '/run/own'\n",
        ),
        ("/etc/pg/not.conf", "unix_socket_directories = '/wrong'\n"),
        ("/etc/pg/conf.d/10.conf", "port = 7003\n"),
        (
            "/etc/pg/conf.d/20.conf",
            "include '../main.conf'\nport = 7004\n",
        ),
        ("/etc/pg/conf.d/30.conf.old", "port = 7005\n"),
        ("/etc/pg/conf.d/.40.conf", "port = 7006\n"),
    ];
    let found = proposed(line, Files(included));
    assert!(
        found.contains("/run/own") && !found.contains("/wrong"),
        "{found}"
    );
    assert!(
        found.contains("7004") && !found.contains("7005") && !found.contains("7006"),
        "{found}"
    );
    let set = &[
        ("/srv/pg/postgresql.conf", "port = 7001\n"),
        ("/srv/pg/postgresql.auto.conf", "port = '7009'\n"),
    ];
    let found = proposed("/usr/bin/postgres -D /srv/pg", Files(set));
    assert!(found.contains("7009"), "{found}");
}

#[test]
fn what_a_configuration_of_redis_includes_counts_where_it_stands() {
    let files = &[
        (
            "/etc/redis.conf",
            "include /etc/redis/base.conf\ninclude \"/etc/redis/d/*.conf\"\nport 7002\ninclude relative.conf\ninclude /etc/redis/none.conf\n",
        ),
        ("/etc/redis/base.conf", "port 7001\ndir /srv/one\n"),
        ("/etc/redis/d/a.conf", "dir /srv/two\n"),
        ("/etc/redis/d/b.conf", "dir /srv/three\n"),
        ("/etc/redis/d/c.off", "dir /srv/four\n"),
    ];
    let found = proposed("/usr/bin/redis-server /etc/redis.conf", Files(files));
    assert!(found.contains("7002") && !found.contains("7001"), "{found}");
    assert!(
        found.contains("/srv/three") && !found.contains("/srv/two"),
        "{found}"
    );
}

#[test]
fn a_missing_restart_policy_is_offered_but_not_where_it_would_do_harm() {
    let units = machine();
    let lacking = recommend_units(&units);
    assert_eq!(lacking.len(), 1);
    assert_eq!(lacking[0].0, "shop.service");
    let text = drop_in(&units).unwrap();
    assert!(
        text.contains("/etc/systemd/system/shop.service.d/50-restart.conf"),
        "{text}"
    );
    assert!(text.contains("\n[Service]\nRestart=on-failure\n") && !text.contains("postgresql"));
    assert!(drop_in(&units[1..3]).is_none());
}

#[test]
fn a_directory_that_holds_more_than_captured_data_is_told_and_one_with_only_that_is_not() {
    let mut units = machine();
    units[0].directories = vec!["/var/lib/postgresql".into()];
    units[1].directories = vec!["/var/lib".into(), "/var/lib/redis/more".into()];
    let proposal = propose_units(&units, Path::new("/etc/rekindle"));
    assert_eq!(proposal.notes.len(), 1, "{:?}", proposal.notes);
    assert!(proposal.notes[0].contains("redis-server.service: /var/lib holds its data"));
}
