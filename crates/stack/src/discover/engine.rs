//! Which program a service is.

use super::image::ImageName;
use crate::compose::Service;

/// What holds the state of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// PostgreSQL, with whatever extensions.
    Postgres,
    /// Redis, or what reads and writes its files.
    Redis,
    /// A store that speaks S3.
    S3,
    /// MeiliSearch.
    Meilisearch,
    /// A database whose files are only whole while it is stopped.
    OtherDatabase,
    /// Any other program.
    Other,
}

/// A service recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Component {
    /// What it is to Rekindle.
    pub engine: Engine,
    /// The program's name, for people; `None` if it is not known.
    pub product: Option<&'static str>,
    /// What it was recognised by.
    pub evidence: String,
    /// What a person should know about this program.
    pub remark: Option<&'static str>,
    /// Where the program keeps its data, of the usual places.
    pub data: &'static [&'static str],
}

struct Known {
    /// Bases of image names, or whole repositories if they have a `/`.
    images: &'static [&'static str],
    engine: Engine,
    product: &'static str,
    remark: Option<&'static str>,
    data: &'static [&'static str],
}

const fn known(
    engine: Engine,
    product: &'static str,
    images: &'static [&'static str],
    data: &'static [&'static str],
) -> Known {
    Known {
        images,
        engine,
        product,
        remark: None,
        data,
    }
}

const fn with(remark: &'static str, known: Known) -> Known {
    Known {
        remark: Some(remark),
        ..known
    }
}

const PGDATA: &[&str] = &[
    "/var/lib/postgresql",
    "/bitnami/postgresql",
    "/home/postgres/pgdata",
];
const REDIS: &[&str] = &["/data", "/bitnami/redis", "/bitnami/valkey"];

use Engine::{Meilisearch, Other, OtherDatabase, Postgres, Redis, S3};

/// The first that fits counts. Names of images as on Docker Hub, Quay and GitHub.
const KNOWN: &[Known] = &[
    known(
        Postgres,
        "PostgreSQL with pgvector",
        &[
            "pgvector",
            "pgvecto-rs",
            "ankane/pgvector",
            "vchord-postgres",
        ],
        PGDATA,
    ),
    known(
        Postgres,
        "PostgreSQL with TimescaleDB",
        &["timescaledb", "timescaledb-ha"],
        PGDATA,
    ),
    known(Postgres, "PostgreSQL with PostGIS", &["postgis"], PGDATA),
    known(Postgres, "PostgreSQL with Citus", &["citus"], PGDATA),
    known(Postgres, "PostgreSQL with ParadeDB", &["paradedb"], PGDATA),
    known(Postgres, "PostgreSQL", &["postgres", "postgresql"], PGDATA),
    known(Redis, "Valkey", &["valkey", "valkey-bundle"], REDIS),
    with(
        "KeyDB is a relative of Redis and writes RDB files of the same form",
        known(Redis, "KeyDB", &["keydb"], REDIS),
    ),
    known(
        Redis,
        "Redis",
        &["redis", "redis-stack", "redis-stack-server"],
        REDIS,
    ),
    with(
        "Dragonfly only resembles Redis: its snapshots are files of its own, so it is stopped and its files are taken",
        known(OtherDatabase, "Dragonfly", &["dragonfly"], &["/data"]),
    ),
    with(
        "Garnet only resembles Redis: its files are of its own form, so it is stopped and its files are taken",
        known(OtherDatabase, "Garnet", &["garnet"], &["/data"]),
    ),
    known(
        S3,
        "MinIO",
        &["minio"],
        &["/data", "/bitnami/minio/data", "/export"],
    ),
    known(S3, "RustFS", &["rustfs"], &["/data"]),
    known(S3, "Garage", &["garage"], &["/var/lib/garage"]),
    known(S3, "SeaweedFS", &["seaweedfs"], &["/data"]),
    known(
        S3,
        "Ceph",
        &["ceph/demo", "ceph/daemon"],
        &["/var/lib/ceph"],
    ),
    known(
        Meilisearch,
        "MeiliSearch",
        &["meilisearch"],
        &["/meili_data"],
    ),
    known(
        OtherDatabase,
        "MySQL",
        &["mysql", "mysql-server", "percona", "percona-server"],
        &["/var/lib/mysql", "/bitnami/mysql"],
    ),
    known(
        OtherDatabase,
        "MariaDB",
        &["mariadb"],
        &["/var/lib/mysql", "/bitnami/mariadb", "/config"],
    ),
    known(
        OtherDatabase,
        "MongoDB",
        &[
            "mongo",
            "mongodb",
            "mongodb-community-server",
            "percona-server-mongodb",
        ],
        &["/data/db", "/bitnami/mongodb"],
    ),
    known(OtherDatabase, "FerretDB", &["ferretdb"], &["/state"]),
    known(
        OtherDatabase,
        "Elasticsearch",
        &["elasticsearch"],
        &["/usr/share/elasticsearch/data"],
    ),
    known(
        OtherDatabase,
        "OpenSearch",
        &["opensearch"],
        &["/usr/share/opensearch/data"],
    ),
    known(OtherDatabase, "Qdrant", &["qdrant"], &["/qdrant/storage"]),
    known(
        OtherDatabase,
        "Weaviate",
        &["weaviate"],
        &["/var/lib/weaviate"],
    ),
    known(OtherDatabase, "Milvus", &["milvus"], &["/var/lib/milvus"]),
    known(
        OtherDatabase,
        "Chroma",
        &["chroma"],
        &["/data", "/chroma/chroma"],
    ),
    known(OtherDatabase, "Typesense", &["typesense"], &["/data"]),
    known(
        OtherDatabase,
        "InfluxDB",
        &["influxdb"],
        &["/var/lib/influxdb", "/var/lib/influxdb2"],
    ),
    known(
        OtherDatabase,
        "ClickHouse",
        &["clickhouse", "clickhouse-server"],
        &["/var/lib/clickhouse"],
    ),
    known(
        OtherDatabase,
        "Cassandra",
        &["cassandra", "scylla"],
        &["/var/lib/cassandra", "/var/lib/scylla"],
    ),
    known(
        OtherDatabase,
        "CouchDB",
        &["couchdb"],
        &["/opt/couchdb/data"],
    ),
    known(OtherDatabase, "Neo4j", &["neo4j"], &["/data"]),
    known(
        OtherDatabase,
        "CockroachDB",
        &["cockroach"],
        &["/cockroach/cockroach-data"],
    ),
    known(
        OtherDatabase,
        "SQL Server",
        &["mssql/server", "azure-sql-edge"],
        &["/var/opt/mssql"],
    ),
    known(
        OtherDatabase,
        "RabbitMQ",
        &["rabbitmq"],
        &["/var/lib/rabbitmq"],
    ),
    known(OtherDatabase, "NATS", &["nats"], &["/data"]),
    known(
        OtherDatabase,
        "Kafka",
        &["kafka", "cp-kafka", "redpanda"],
        &["/var/lib/kafka", "/bitnami/kafka", "/var/lib/redpanda"],
    ),
    known(
        OtherDatabase,
        "etcd",
        &["etcd"],
        &["/etcd-data", "/bitnami/etcd"],
    ),
    known(OtherDatabase, "Consul", &["consul"], &["/consul/data"]),
    known(
        OtherDatabase,
        "Vault",
        &["hashicorp/vault", "openbao"],
        &["/vault/file", "/vault/data"],
    ),
    known(
        OtherDatabase,
        "Prometheus",
        &["prometheus", "victoria-metrics"],
        &["/prometheus", "/victoria-metrics-data"],
    ),
    known(
        OtherDatabase,
        "LDAP",
        &["openldap", "lldap"],
        &["/var/lib/ldap", "/bitnami/openldap"],
    ),
    with(
        "Models are downloaded again when they are missing; leave `files` out if that is soon enough",
        known(Other, "Ollama", &["ollama"], &["/root/.ollama"]),
    ),
    known(Other, "memcached", &["memcached"], &[]),
    known(Other, "nginx", &["nginx", "nginx-unprivileged"], &[]),
    known(Other, "Traefik", &["traefik"], &[]),
    known(Other, "Caddy", &["caddy"], &["/data"]),
    known(Other, "Hasura", &["graphql-engine"], &[]),
];

/// Words in the name of an image that is about a server, and is not one.
const HELPERS: [&str; 16] = [
    "exporter",
    "backup",
    "commander",
    "insight",
    "admin",
    "ui",
    "operator",
    "proxy",
    "client",
    "mc",
    "cli",
    "init",
    "web",
    "console",
    "express",
    "dump",
];

/// Recognises what a service is: by its image, else by its command, its storage, its environment.
pub fn recognise(service: &Service) -> Component {
    if let Some(image) = &service.image {
        let name = ImageName::parse(image);
        if let Some(found) = by_image(&name) {
            return component(found, format!("image {image}"));
        }
        if HELPERS
            .iter()
            .any(|helper| words(name.base()).any(|word| word == *helper))
        {
            return unknown(service);
        }
    }
    match by_traces(service) {
        Some((found, evidence)) => component(found, evidence.to_owned()),
        None => unknown(service),
    }
}

/// A program by the name that people know it by.
pub(super) fn of_product(product: &str, evidence: String) -> Option<Component> {
    let found = KNOWN.iter().find(|known| known.product == product)?;
    Some(component(found, evidence))
}

fn component(found: &Known, evidence: String) -> Component {
    Component {
        engine: found.engine,
        product: Some(found.product),
        evidence,
        remark: found.remark,
        data: found.data,
    }
}

fn unknown(service: &Service) -> Component {
    let evidence = match &service.image {
        Some(image) => format!("image {image}"),
        None => "built from this project".to_owned(),
    };
    Component {
        engine: Engine::Other,
        product: None,
        evidence,
        remark: None,
        data: &[],
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['-', '_', '.'])
}

fn by_image(name: &ImageName) -> Option<&'static Known> {
    let is_it = |known: &&Known| {
        let mut images = known.images.iter();
        images.any(|image| *image == name.base() || *image == name.repository)
    };
    KNOWN.iter().find(is_it).or_else(|| of_own_make(name))
}

/// `acme/postgres-with-things`: one of the words is the program's name, and none says otherwise.
fn of_own_make(name: &ImageName) -> Option<&'static Known> {
    let has = |wanted: &str| words(name.base()).any(|word| word == wanted);
    if HELPERS.iter().any(|helper| has(helper)) {
        return None;
    }
    let is_server = |known: &&Known| known.engine != Engine::Other;
    let of_words = |known: &&Known| known.images.iter().any(|image| has(image));
    KNOWN.iter().filter(is_server).find(of_words)
}

/// What a server of an unknown image leaves in a Compose file.
fn by_traces(service: &Service) -> Option<(&'static Known, &'static str)> {
    let find = |product: &str| KNOWN.iter().find(|known| known.product == product);
    let has = |variable: &str| service.environment.contains_key(variable);
    let listens = |port: u16| service.ports.iter().any(|known| known.target == port);
    let stores = |known: &Known| known.data.iter().any(|path| stores_at(service, path));
    let runs = |program: &str| {
        let mut words = service
            .command
            .iter()
            .flat_map(|word| word.split_whitespace());
        words.any(|word| word.rsplit('/').next() == Some(program))
    };
    let postgres = find("PostgreSQL")?;
    if stores(postgres)
        && (has("PGDATA") || has("POSTGRES_PASSWORD") || has("POSTGRES_USER") || listens(5432))
    {
        return Some((postgres, "its data directory and environment"));
    }
    if runs("redis-server") {
        return Some((find("Redis")?, "its command"));
    }
    if runs("valkey-server") {
        return Some((find("Valkey")?, "its command"));
    }
    if has("MINIO_ROOT_USER") && (runs("server") || listens(9000)) {
        return Some((find("MinIO")?, "its environment"));
    }
    if has("MEILI_MASTER_KEY") && (listens(7700) || stores(find("MeiliSearch")?)) {
        return Some((find("MeiliSearch")?, "its environment"));
    }
    None
}

fn stores_at(service: &Service, path: &str) -> bool {
    let path = std::path::Path::new(path);
    let mut targets = service
        .mounts
        .iter()
        .map(|mount| std::path::Path::new(&mount.target));
    targets.any(|target| target.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_recognised_whoever_made_them() {
        let table = [
            ("postgres:16-alpine", Engine::Postgres, Some("PostgreSQL")),
            (
                "ghcr.io/immich-app/postgres:14-vectorchord0.4.3",
                Engine::Postgres,
                Some("PostgreSQL"),
            ),
            (
                "supabase/postgres:15.1",
                Engine::Postgres,
                Some("PostgreSQL"),
            ),
            (
                "bitnami/postgresql:17",
                Engine::Postgres,
                Some("PostgreSQL"),
            ),
            (
                "pgvector/pgvector:pg16",
                Engine::Postgres,
                Some("PostgreSQL with pgvector"),
            ),
            (
                "timescale/timescaledb-ha:pg16",
                Engine::Postgres,
                Some("PostgreSQL with TimescaleDB"),
            ),
            (
                "postgis/postgis:17-3.5",
                Engine::Postgres,
                Some("PostgreSQL with PostGIS"),
            ),
            (
                "acme/postgres-vector:1",
                Engine::Postgres,
                Some("PostgreSQL"),
            ),
            ("redis/redis-stack-server", Engine::Redis, Some("Redis")),
            ("valkey/valkey:8", Engine::Redis, Some("Valkey")),
            ("eqalpha/keydb", Engine::Redis, Some("KeyDB")),
            (
                "docker.dragonflydb.io/dragonflydb/dragonfly",
                Engine::OtherDatabase,
                Some("Dragonfly"),
            ),
            ("quay.io/minio/minio", Engine::S3, Some("MinIO")),
            ("dxflrs/garage:v1.0.1", Engine::S3, Some("Garage")),
            ("chrislusf/seaweedfs", Engine::S3, Some("SeaweedFS")),
            (
                "getmeili/meilisearch:v1.10",
                Engine::Meilisearch,
                Some("MeiliSearch"),
            ),
            ("mysql:8", Engine::OtherDatabase, Some("MySQL")),
            (
                "mcr.microsoft.com/mssql/server:2022-latest",
                Engine::OtherDatabase,
                Some("SQL Server"),
            ),
            ("nginx:1.27", Engine::Other, Some("nginx")),
            // About a server, and not one.
            ("prometheuscommunity/postgres-exporter", Engine::Other, None),
            ("prodrigestivill/postgres-backup-local", Engine::Other, None),
            ("oliver006/redis_exporter", Engine::Other, None),
            ("rediscommander/redis-commander", Engine::Other, None),
            ("minio/mc", Engine::Other, None),
            ("dpage/pgadmin4", Engine::Other, None),
            ("edoburu/pgbouncer", Engine::Other, None),
            ("mongo-express", Engine::Other, None),
            ("acme/app:1", Engine::Other, None),
        ];
        for (image, engine, product) in table {
            let service = Service {
                image: Some(image.to_owned()),
                ..Service::new("s")
            };
            let found = recognise(&service);
            assert_eq!((found.engine, found.product), (engine, product), "{image}");
        }
    }

    #[test]
    fn a_server_of_an_unknown_image_is_known_by_its_traces() {
        use crate::compose::{Mount, MountKind, Origin, Variable, Words};
        let mut service = Service {
            image: Some("registry.example/acme/store:3".to_owned()),
            ..Service::new("s")
        };
        let password = Variable::new("x", Origin::Written);
        service
            .environment
            .insert("POSTGRES_PASSWORD".into(), password);
        assert_eq!(
            recognise(&service).engine,
            Engine::Other,
            "an application has one, too"
        );
        let volume = MountKind::Volume("v".into());
        service.mounts = vec![Mount::new(volume, "/var/lib/postgresql/data", false)];
        assert_eq!(recognise(&service).engine, Engine::Postgres);
        service.mounts.clear();
        service.command = Words(vec![
            "sh".into(),
            "-c".into(),
            "exec /usr/bin/valkey-server --port 1".into(),
        ]);
        assert_eq!(recognise(&service).product, Some("Valkey"));
    }
}
