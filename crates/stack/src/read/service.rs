//! One service.

use std::collections::BTreeMap;

use super::{Context, Fields, Needs, Reference, dataset, quoted, rules, run, scalar};
use crate::model::{Dataset, DuringBackup, HealthCheck, Service};
use crate::name::{Name, NameError};
use crate::node::{Entry, Node, Place, Value};

pub(super) fn service(entry: &Entry, ctx: &mut Context<'_>) -> Option<Service> {
    let name = entry.key.parse::<Name>();
    if let Err(NameError) = name {
        let message = format!("`{}` is no name: {NameError}", super::shown_key(&entry.key));
        ctx.error(entry.place, message, None);
    }
    let owner = format!("service `{}`", super::shown_key(&entry.key));
    let mut f = Fields::of(&entry.value, owner.as_str(), ctx)?;
    let datasets = datasets(&mut f, ctx);
    let stateless = f
        .optional("stateless", ctx, scalar::boolean)
        .unwrap_or(false);
    state_is_said_once(&mut f, &owner, entry.place, stateless, ctx);
    let depends_on = f.list("depends_on", ctx, dependency).unwrap_or_default();
    depends_on_others(&mut f, &entry.key, ctx);
    let rpo = f.optional("rpo", ctx, scalar::period);
    let rto = f.optional("rto", ctx, scalar::period);
    let priority = f
        .optional("priority", ctx, scalar::choice)
        .unwrap_or_default();
    let optional = f
        .optional("optional", ctx, scalar::boolean)
        .unwrap_or(false);
    let health = f.optional("health", ctx, health);
    let start_limit = f.optional("start_limit", ctx, scalar::period);
    let run = f.optional("run", ctx, run::run);
    let unit = f.optional("unit", ctx, run::unit);
    let retention = f.optional("retention", ctx, rules::retention);
    let tripwire = f.optional("tripwire", ctx, rules::tripwire);
    let during_backup = f
        .optional("during_backup", ctx, scalar::choice)
        .unwrap_or_default();
    rests_only_with_files(&mut f, &owner, &datasets, during_backup, ctx);
    let before_backup = f.optional("before_backup", ctx, scalar::filled_text);
    let after_backup = f.optional("after_backup", ctx, scalar::filled_text);
    let hook_limit = f.optional("hook_limit", ctx, scalar::period);
    f.finish(ctx);
    let name = name.ok()?;
    Some(Service {
        name,
        datasets,
        stateless,
        depends_on,
        rpo,
        rto,
        priority,
        optional,
        health,
        start_limit,
        run,
        unit,
        retention,
        tripwire,
        during_backup,
        before_backup,
        after_backup,
        hook_limit,
    })
}

fn datasets(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Vec<Dataset> {
    let datasets = f
        .list("datasets", ctx, dataset::dataset)
        .unwrap_or_default();
    let Some(entry) = f.entry("datasets") else {
        return datasets;
    };
    for (index, dataset) in datasets.iter().enumerate() {
        if datasets[..index]
            .iter()
            .any(|other| other.kind() == dataset.kind())
        {
            let message = format!("there are two `{}` datasets in one service", dataset.kind());
            let help = Some("give the second a service of its own".to_owned());
            ctx.error(entry.place, message, help);
        }
    }
    datasets
}

/// A service has datasets or says `stateless: true`, so that none is forgotten.
fn state_is_said_once(
    f: &mut Fields<'_>,
    owner: &str,
    place: Place,
    stateless: bool,
    ctx: &mut Context<'_>,
) {
    let datasets = f.entry("datasets");
    let is_empty = |node: &Node| matches!(&node.value, Value::List(items) if items.is_empty());
    match datasets {
        Some(entry) if stateless && !is_empty(&entry.value) => {
            let message = format!("{owner} is stateless and has datasets");
            ctx.error(
                entry.place,
                message,
                Some("remove one of the two keys".into()),
            );
        }
        None if !stateless && !is_unclear(f) => {
            let message = format!("{owner} has neither datasets nor `stateless: true`");
            let help = "say `stateless: true` if nothing of it needs a backup";
            ctx.error(place, message, Some(help.into()));
        }
        Some(entry) if !stateless && is_empty(&entry.value) => {
            let message = format!("{owner} has an empty list of datasets");
            let help = "say `stateless: true` if nothing of it needs a backup";
            ctx.error(entry.place, message, Some(help.into()));
        }
        _ => {}
    }
}

/// Whether something is there already to complain about: a misspelt key, or no boolean.
fn is_unclear(f: &mut Fields<'_>) -> bool {
    let said = f.entry("stateless").map(|entry| &entry.value.value);
    !matches!(said, None | Some(Value::Bool(_)))
        || f.has_misspelt("datasets")
        || f.has_misspelt("stateless")
}

/// What is asked for its data must run.
fn rests_only_with_files(
    f: &mut Fields<'_>,
    owner: &str,
    datasets: &[Dataset],
    during_backup: DuringBackup,
    ctx: &mut Context<'_>,
) {
    let asked = datasets
        .iter()
        .find(|dataset| !matches!(dataset, Dataset::Files(_)));
    let (Some(asked), Some(entry)) = (asked, f.entry("during_backup")) else {
        return;
    };
    if during_backup != DuringBackup::Run {
        let kind = asked.kind();
        let message =
            format!("{owner} must run during a backup: its {kind} dataset is read from it");
        let help = "let those rest that write into it: services without datasets".to_owned();
        ctx.error(entry.place, message, Some(help));
    }
}

fn dependency(node: &Node, ctx: &mut Context<'_>) -> Option<Name> {
    let name = scalar::name(node, ctx)?;
    refer(&name, node.place, "depends_on", Needs::Existence, ctx);
    Some(name)
}

pub(super) fn refer(
    name: &Name,
    place: Place,
    key: &'static str,
    needs: Needs,
    ctx: &mut Context<'_>,
) {
    let service = name.as_str().to_owned();
    ctx.references.push(Reference {
        service,
        place,
        key,
        needs,
    });
}

/// Notes what is named twice; that a service names itself is found as a cycle.
fn depends_on_others(f: &mut Fields<'_>, owner: &str, ctx: &mut Context<'_>) {
    let Some(Value::List(items)) = f.entry("depends_on").map(|entry| &entry.value.value) else {
        return;
    };
    rules::refuse_twice(items, &format!("`depends_on` of `{}`", quoted(owner)), ctx);
}

fn health(node: &Node, ctx: &mut Context<'_>) -> Option<HealthCheck> {
    let mut f = Fields::of(node, "health", ctx)?;
    let http = f.optional("http", ctx, scalar::http_url);
    let expect = f.optional("expect", ctx, expect).unwrap_or_default();
    let tcp = f.optional("tcp", ctx, scalar::tcp_address);
    let command = f.optional("command", ctx, run::command);
    one_question(&mut f, ctx);
    f.finish(ctx);
    Some(HealthCheck {
        http,
        expect,
        tcp,
        command,
    })
}

fn one_question(f: &mut Fields<'_>, ctx: &mut Context<'_>) {
    const QUESTIONS: [&str; 3] = ["http", "tcp", "command"];
    let asked: Vec<&Entry> = QUESTIONS.iter().filter_map(|key| f.entry(key)).collect();
    match asked.as_slice() {
        [] if QUESTIONS.iter().any(|key| f.has_misspelt(key)) => {}
        [] => {
            let help = Some("`http: URL`, `tcp: host:port` or `command: [ … ]`".to_owned());
            ctx.error(f.place(), "health asks nothing", help);
        }
        [only] if only.key != "http" => {
            if let Some(entry) = f.entry("expect") {
                let help = Some("it is about the JSON answer of `http`".to_owned());
                ctx.error(entry.place, "`expect` is of no use here", help);
            }
        }
        [_] => {}
        [first, second, ..] => {
            let help = Some("keep one of them".to_owned());
            let message = format!("`{}` and `{}` are both given", first.key, second.key);
            ctx.error(second.place, message, help);
        }
    }
}

fn expect(node: &Node, ctx: &mut Context<'_>) -> Option<BTreeMap<String, serde_json::Value>> {
    let Value::Map(entries) = &node.value else {
        Fields::of(node, "expect", ctx)?;
        return None;
    };
    let field = |entry: &Entry| Some((entry.key.clone(), rules::answer(&entry.value, ctx)?));
    Some(entries.iter().filter_map(field).collect())
}
