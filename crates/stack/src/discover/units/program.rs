//! Which program a unit runs.

use std::path::Path;

use super::Unit;
use crate::discover::engine::{Component, Engine, of_product};

/// Programs by the name of their file, with the name that people know them by. Names as Debian's and the makers' own
/// packages have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("postgres", "PostgreSQL"),
    ("postmaster", "PostgreSQL"),
    ("pg_ctl", "PostgreSQL"),
    ("pg_ctlcluster", "PostgreSQL"),
    ("redis-server", "Redis"),
    ("valkey-server", "Valkey"),
    ("keydb-server", "KeyDB"),
    ("dragonfly", "Dragonfly"),
    ("meilisearch", "MeiliSearch"),
    ("minio", "MinIO"),
    ("rustfs", "RustFS"),
    ("garage", "Garage"),
    ("weed", "SeaweedFS"),
    ("mysqld", "MySQL"),
    ("mysqld_safe", "MySQL"),
    ("mariadbd", "MariaDB"),
    ("mariadbd-safe", "MariaDB"),
    ("mongod", "MongoDB"),
    ("qdrant", "Qdrant"),
    ("typesense-server", "Typesense"),
    ("influxd", "InfluxDB"),
    ("clickhouse-server", "ClickHouse"),
    ("couchdb", "CouchDB"),
    ("rabbitmq-server", "RabbitMQ"),
    ("nats-server", "NATS"),
    ("etcd", "etcd"),
    ("prometheus", "Prometheus"),
    ("slapd", "LDAP"),
    ("ollama", "Ollama"),
    ("memcached", "memcached"),
    ("nginx", "nginx"),
    ("traefik", "Traefik"),
    ("caddy", "Caddy"),
];

/// Units whose program tells nothing: a script or a JVM starts it.
const UNITS: &[(&str, &str)] = &[
    ("postgresql", "PostgreSQL"),
    ("redis", "Redis"),
    ("redis-server", "Redis"),
    ("elasticsearch", "Elasticsearch"),
    ("opensearch", "OpenSearch"),
    ("neo4j", "Neo4j"),
    ("cassandra", "Cassandra"),
    ("rabbitmq-server", "RabbitMQ"),
    ("mariadb", "MariaDB"),
    ("mysql", "MySQL"),
];

/// Recognises what a unit is: by its program, else by its name.
pub fn recognise_unit(unit: &Unit) -> Component {
    let program = program(unit);
    let by_program = PROGRAMS.iter().find(|(name, _)| Some(*name) == program);
    if let Some((name, product)) = by_program
        && let Some(component) = of_product(product, format!("program {name}"))
    {
        return component;
    }
    let stem = unit.name.split(['@', '.']).next().unwrap_or_default();
    let by_name = UNITS.iter().find(|(name, _)| *name == stem);
    // Debian's postgresql.service runs `true`.
    let by_name = by_name.filter(|_| program != Some("true"));
    if let Some((_, product)) = by_name
        && let Some(component) = of_product(product, format!("unit {}", unit.name))
    {
        return component;
    }
    Component {
        engine: Engine::Other,
        product: None,
        evidence: match program {
            Some(program) => format!("program {program}"),
            None => format!("unit {}", unit.name),
        },
        remark: None,
        data: &[],
    }
}

/// Whether it is a program that keeps state and that Rekindle knows: what a machine without further word is asked about.
pub fn is_known(unit: &Unit) -> bool {
    let component = recognise_unit(unit);
    component.product.is_some() && component.engine != Engine::Other
}

/// The name of its program's file. One that shows what it does by its arguments is looked through: `env`, `sh -c` is not.
fn program(unit: &Unit) -> Option<&str> {
    let mut words = unit.argv.iter().map(|word| file_name(word));
    let first = words.next()?;
    match first {
        "env" | "numactl" | "nice" => unit.argv[1..]
            .iter()
            .filter(|word| !word.starts_with('-') && !word.contains('='))
            .map(|word| file_name(word))
            .next(),
        other => Some(other),
    }
}

fn file_name(path: &str) -> &str {
    let name = Path::new(path).file_name();
    name.and_then(|name| name.to_str()).unwrap_or(path)
}
