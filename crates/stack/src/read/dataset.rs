//! Datasets, one function per kind.

use super::{Context, Fields, quoted, rules, scalar};
use crate::model::{
    Dataset, FilesDataset, LogicalDump, MeilisearchDataset, PostgresDataset, RedisDataset,
    RedisPart, S3Dataset, WalMode,
};
use crate::node::{Node, Value};
use crate::secret::SecretSource;
use crate::suggest;
use crate::url::ServiceUrl;

pub(super) fn dataset(node: &Node, ctx: &mut Context<'_>) -> Option<Dataset> {
    const KINDS: [&str; 5] = ["postgres", "redis", "s3", "meilisearch", "files"];
    let mut f = Fields::of(node, "a dataset", ctx)?;
    let kind = f.required("kind", ctx, scalar::text)?;
    let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
        let place = f
            .entry("kind")
            .map_or(node.place, |entry| entry.value.place);
        let help = suggest::help(&kind, KINDS, "one of");
        ctx.error(
            place,
            format!("`{}` is no kind of dataset", quoted(&kind)),
            help,
        );
        return None;
    };
    let mut f = Fields::of(node, format!("a `{kind}` dataset"), ctx)?;
    f.entry("kind");
    let dataset = match kind {
        "postgres" => postgres(&mut f, ctx).map(Dataset::Postgres),
        "redis" => redis(&mut f, ctx).map(Dataset::Redis),
        "s3" => s3(&mut f, ctx).map(Dataset::S3),
        "meilisearch" => meilisearch(&mut f, ctx).map(Dataset::Meilisearch),
        _ => files(&mut f, ctx).map(Dataset::Files),
    };
    f.finish(ctx);
    dataset
}

fn postgres(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Option<PostgresDataset> {
    let url = f.required("url", ctx, scalar::postgres_url);
    let password = password(f, &url, ctx);
    let physical = f.optional("physical", ctx, scalar::boolean).unwrap_or(true);
    let logical = f
        .optional("logical", ctx, logical)
        .unwrap_or(LogicalDump::None);
    let wal = f.optional("wal", ctx, wal).unwrap_or(WalMode::Off);
    if !physical {
        needs_something_to_save(f, wal, ctx);
    }
    let method = f
        .optional("method", ctx, scalar::choice)
        .unwrap_or_default();
    let data_directory = f.path("data_directory", ctx);
    let bin_dir = f.path("bin_dir", ctx);
    let wal_slot = f.optional("wal_slot", ctx, slot_name);
    let wal_spool = f.path("wal_spool", ctx);
    let wal_spool_limit = f.optional("wal_spool_limit", ctx, scalar::size);
    let wal_synchronous = f.optional("wal_synchronous", ctx, scalar::boolean);
    let stop_command = f.optional("stop_command", ctx, scalar::text);
    let start_command = f.optional("start_command", ctx, scalar::text);
    Some(PostgresDataset {
        url: url?,
        password,
        physical,
        logical,
        wal,
        method,
        data_directory,
        bin_dir,
        wal_slot,
        wal_spool,
        wal_spool_limit,
        wal_synchronous: wal_synchronous.unwrap_or(false),
        stop_command,
        start_command,
    })
}

/// What PostgreSQL takes for the name of a slot. Source: its manual, "Replication Slots".
fn slot_name(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    let name = scalar::text(node, ctx)?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
        return Some(name);
    }
    let help = Some("lower-case letters, digits and `_`, 63 at most".to_owned());
    ctx.error(
        node.place,
        format!("`{}` is no name of a replication slot", quoted(&name)),
        help,
    );
    None
}

/// The password of its own key; one in the URL as well would leave open which of them counts.
fn password(
    f: &mut Fields<'_>,
    url: &Option<ServiceUrl>,
    ctx: &mut Context<'_>,
) -> Option<SecretSource> {
    let password = f.secret("password", ctx);
    let in_url = url.as_ref().is_some_and(|url| url.password().is_some());
    if let (Some(entry), true, true) = (f.entry("url"), in_url, password.is_some()) {
        let help = Some("remove it from the URL".to_owned());
        ctx.error(
            entry.value.place,
            "a password is given in the URL and by a key",
            help,
        );
    }
    password
}

fn needs_something_to_save(f: &mut Fields<'_>, wal: WalMode, ctx: &mut Context<'_>) {
    // As written: a wrong value has been reported already.
    let logical = f.entry("logical").map(|entry| &entry.value.value);
    let place = f.entry("physical").map_or(f.place(), |entry| entry.place);
    if wal != WalMode::Off {
        let help = Some("WAL is replayed onto a physical backup".to_owned());
        ctx.error(place, "`wal` is of no use with `physical: false`", help);
    } else if matches!(logical, None | Some(Value::Bool(false))) {
        let help = Some("add `logical: all`, or leave `physical` out".to_owned());
        ctx.error(
            place,
            "neither `physical` nor `logical`: nothing would be saved",
            help,
        );
    }
}

fn logical(node: &Node, ctx: &mut Context<'_>) -> Option<LogicalDump> {
    match &node.value {
        Value::Bool(false) => Some(LogicalDump::None),
        Value::Text(text) if text == "all" => Some(LogicalDump::All),
        Value::List(items) if !items.is_empty() => {
            let names = items
                .iter()
                .filter_map(|item| scalar::filled_text(item, ctx))
                .collect();
            rules::refuse_twice(items, "`logical`", ctx);
            Some(LogicalDump::Databases(names))
        }
        other => {
            let help = match other {
                Value::Bool(true) => Some("write `all` for every database".to_owned()),
                Value::Text(name) => Some(format!("a list of one is `[{}]`", quoted(name))),
                _ => None,
            };
            ctx.error(
                node.place,
                "`all`, a list of databases or `false` is wanted here",
                help,
            );
            None
        }
    }
}

fn wal(node: &Node, ctx: &mut Context<'_>) -> Option<WalMode> {
    match &node.value {
        Value::Bool(false) => return Some(WalMode::Off),
        Value::Text(text) if text == "stream" => return Some(WalMode::Stream),
        Value::Text(text) if text == "push" => return Some(WalMode::Push),
        Value::Text(text) => {
            let help = suggest::help(text, ["stream", "push", "false"], "one of");
            ctx.error(
                node.place,
                format!("`{}` is no way to archive WAL", quoted(text)),
                help,
            );
        }
        _ => ctx.error(
            node.place,
            "`stream`, `push` or `false` is wanted here",
            None,
        ),
    }
    None
}

fn redis(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Option<RedisDataset> {
    let url = f.required("url", ctx, scalar::redis_url);
    let password = password(f, &url, ctx);
    let include = match f.entry("include") {
        None => vec![RedisPart::Rdb],
        Some(_) => f.filled_list("include", ctx, scalar::choice),
    };
    let data_directory = f.path("data_directory", ctx);
    let ca_file = f.path("ca_file", ctx);
    let cert_file = f.path("cert_file", ctx);
    let key_file = f.path("key_file", ctx);
    needs_both("cert_file", "key_file", f, ctx);
    let speaks_tls = url.as_ref().is_none_or(|url| url.scheme() == "rediss");
    if let (Some(entry), false) = (f.entry("cert_file"), speaks_tls) {
        let help = Some("TLS is spoken with a `url` of `rediss://`".to_owned());
        let place = entry.place;
        ctx.error(place, "`cert_file` is of no use without TLS", help);
    }
    Some(RedisDataset {
        url: url?,
        password,
        include,
        data_directory,
        ca_file,
        cert_file,
        key_file,
    })
}

/// A certificate is of no use without its key, nor a key without its certificate.
fn needs_both(one: &str, other: &str, f: &mut Fields<'_>, ctx: &mut Context<'_>) {
    let places = [one, other].map(|key| f.entry(key).map(|entry| entry.place));
    let (place, there, missing) = match places {
        [Some(place), None] => (place, one, other),
        [None, Some(place)] => (place, other, one),
        _ => return,
    };
    let message = format!("`{there}` is of no use without `{missing}`");
    ctx.error(place, message, Some(format!("add `{missing}`")));
}

fn s3(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Option<S3Dataset> {
    let endpoint = f.required("endpoint", ctx, scalar::http_url);
    let buckets = f.filled_list("buckets", ctx, scalar::filled_text);
    let credentials = f.required_secret("credentials", ctx);
    let region = f.optional("region", ctx, scalar::filled_text);
    let path_style = f.optional("path_style", ctx, scalar::boolean);
    let ca_file = f.path("ca_file", ctx);
    let versions = f.optional("versions", ctx, scalar::choice);
    let tags = f.optional("tags", ctx, scalar::choice);
    Some(S3Dataset {
        endpoint: endpoint?,
        buckets,
        credentials: credentials?,
        region,
        path_style,
        ca_file,
        versions: versions.unwrap_or_default(),
        tags: tags.unwrap_or_default(),
    })
}

fn meilisearch(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Option<MeilisearchDataset> {
    let url = f.required("url", ctx, scalar::http_url);
    let key = f.secret("key", ctx);
    let dump_directory = f.path("dump_directory", ctx);
    let task_limit = f.optional("task_limit", ctx, scalar::period);
    let rebuild = f.optional("rebuild", ctx, scalar::filled_text);
    if let (Some(entry), Some(_)) = (f.entry("dump_directory"), &rebuild) {
        let help = Some("with `rebuild` no dump is made".to_owned());
        ctx.error(
            entry.place,
            "`dump_directory` is of no use with `rebuild`",
            help,
        );
    }
    Some(MeilisearchDataset {
        url: url?,
        key,
        dump_directory,
        task_limit,
        rebuild,
    })
}

fn files(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Option<FilesDataset> {
    let paths = f.filled_list("paths", ctx, scalar::path);
    let optional_paths = f
        .list("optional_paths", ctx, scalar::path)
        .unwrap_or_default();
    let exclude = f
        .list("exclude", ctx, scalar::filled_text)
        .unwrap_or_default();
    let one_file_system = f
        .optional("one_file_system", ctx, scalar::boolean)
        .unwrap_or(false);
    Some(FilesDataset {
        paths,
        optional_paths,
        exclude,
        one_file_system,
    })
}
