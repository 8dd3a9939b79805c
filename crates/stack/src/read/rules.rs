//! Schedule, retention, checks, notifications, environment file, contacts.

use super::{Context, Fields, Needs, quoted, scalar, service};
use crate::model::{
    Check, Contact, EnvFile, Expectation, Notification, NotifyOn, Retention, ScheduledTask,
    ScheduledWork, SqlQuery, Tripwire, TripwireLimits,
};
use crate::name::Name;
use crate::node::{Node, Value};

pub(super) fn task(node: &Node, ctx: &mut Context<'_>) -> Option<ScheduledTask> {
    let mut f = Fields::of(node, "a scheduled task", ctx)?;
    let every = f.required("every", ctx, scalar::cron);
    let work = f.required("do", ctx, scalar::choice);
    let level = f.optional("level", ctx, scalar::choice);
    let scenario = f.optional("scenario", ctx, scalar::name);
    let point = f.optional("point", ctx, scalar::filled_text);
    if let Some(work) = work {
        keys_fit_work(&mut f, work, ctx);
    }
    f.finish(ctx);
    Some(ScheduledTask {
        every: every?,
        work: work?,
        level,
        scenario,
        point,
    })
}

fn keys_fit_work(f: &mut Fields<'_>, work: ScheduledWork, ctx: &mut Context<'_>) {
    let allowed: &[&str] = match work {
        ScheduledWork::Backup => &[],
        ScheduledWork::Verify => &["level", "point"],
        ScheduledWork::Drill => &["scenario", "point"],
    };
    for key in ["level", "scenario", "point"] {
        if let Some(entry) = f.entry(key)
            && !allowed.contains(&key)
        {
            ctx.error(
                entry.place,
                format!("`{key}` means nothing with `do: {work}`"),
                None,
            );
        }
    }
    if work == ScheduledWork::Drill && f.entry("scenario").is_none() {
        let help = Some("for example `scenario: accidental-deletion`".to_owned());
        ctx.error(f.place(), "a drill needs a `scenario`", help);
    }
}

pub(super) fn retention(node: &Node, ctx: &mut Context<'_>) -> Option<Retention> {
    let mut f = Fields::of(node, "retention", ctx)?;
    let retention = Retention {
        last: f.optional("last", ctx, scalar::count),
        hourly: f.optional("hourly", ctx, scalar::count),
        daily: f.optional("daily", ctx, scalar::count),
        weekly: f.optional("weekly", ctx, scalar::count),
        monthly: f.optional("monthly", ctx, scalar::count),
        yearly: f.optional("yearly", ctx, scalar::count),
        pre_change: f.optional("pre_change", ctx, scalar::period),
        wal: f.optional("wal", ctx, scalar::period),
        keep_tags: f
            .list("keep_tags", ctx, scalar::filled_text)
            .unwrap_or_default(),
    };
    f.finish(ctx);
    Some(retention)
}

pub(super) fn tripwire(node: &Node, ctx: &mut Context<'_>) -> Option<Tripwire> {
    if !matches!(node.value, Value::Map(_)) {
        let is_on = scalar::boolean(node, ctx)?;
        let on = Tripwire::On(TripwireLimits::default());
        return Some(if is_on { on } else { Tripwire::Off });
    }
    let mut f = Fields::of(node, "the tripwire", ctx)?;
    let limits = TripwireLimits {
        encrypted: f.optional("encrypted", ctx, scalar::percent),
        changed: f.optional("changed", ctx, scalar::percent),
        gone: f.optional("gone", ctx, scalar::percent),
    };
    f.finish(ctx);
    Some(Tripwire::On(limits))
}

pub(super) fn checks(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Vec<Check> {
    let nodes = match f.entry("checks").map(|entry| &entry.value.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => f.list("checks", ctx, check).map_or(&[], |_| &[]),
    };
    let mut checks: Vec<Check> = Vec::new();
    for node in nodes {
        let Some(check) = check(node, ctx) else {
            continue;
        };
        if checks.iter().any(|other| other.name == check.name) {
            let message = format!("another check has the name `{}`, too", quoted(&check.name));
            ctx.error(node.place, message, None);
        }
        checks.push(check);
    }
    checks
}

fn check(node: &Node, ctx: &mut Context<'_>) -> Option<Check> {
    let mut f = Fields::of(node, "a check", ctx)?;
    let name = f.required("name", ctx, scalar::filled_text);
    let service = f.required("service", ctx, asked_service);
    let database = f.optional("database", ctx, scalar::filled_text);
    let sql = f.required("sql", ctx, scalar::filled_text);
    let expect = f.optional("expect", ctx, answer);
    let equals = f.optional("equals", ctx, equals);
    match (f.entry("expect"), f.entry("equals")) {
        (Some(_), Some(second)) => {
            let help = Some("keep one of them".to_owned());
            ctx.error(second.place, "`expect` and `equals` are both given", help);
        }
        (None, None) => {
            let help = Some("for example `expect: 0`".to_owned());
            ctx.error(node.place, "a check needs `expect` or `equals`", help);
        }
        _ => {}
    }
    f.finish(ctx);
    let query = SqlQuery {
        service: service?,
        database,
        sql: sql?,
    };
    let expectation = match (expect, equals) {
        (Some(value), _) => Expectation::Value(value),
        (None, Some(other)) => Expectation::Equals(other.within(&query)),
        (None, None) => return None,
    };
    Some(Check {
        name: name?,
        query,
        expectation,
    })
}

fn asked_service(node: &Node, ctx: &mut Context<'_>) -> Option<Name> {
    let name = scalar::name(node, ctx)?;
    service::refer(&name, node.place, "service", Needs::Postgres, ctx);
    Some(name)
}

/// The other side of `equals`, before what it leaves out is taken from the check.
struct Equals {
    service: Option<Name>,
    database: Option<String>,
    sql: String,
}

impl Equals {
    fn within(self, check: &SqlQuery) -> SqlQuery {
        let service = self.service.unwrap_or_else(|| check.service.clone());
        // Another service need not have a database of that name.
        let inherited = check.database.clone().filter(|_| service == check.service);
        SqlQuery {
            database: self.database.or(inherited),
            service,
            sql: self.sql,
        }
    }
}

fn equals(node: &Node, ctx: &mut Context<'_>) -> Option<Equals> {
    let mut f = Fields::of(node, "`equals`", ctx)?;
    let service = f.optional("service", ctx, asked_service);
    let database = f.optional("database", ctx, scalar::filled_text);
    let sql = f.required("sql", ctx, scalar::filled_text);
    f.finish(ctx);
    Some(Equals {
        service,
        database,
        sql: sql?,
    })
}

/// A value that an answer is compared with.
pub(super) fn answer(node: &Node, ctx: &mut Context<'_>) -> Option<serde_json::Value> {
    match &node.value {
        Value::Bool(value) => Some((*value).into()),
        Value::Text(text) => Some(text.as_str().into()),
        // Numbers that JSON cannot hold, as `0x1F` or `.inf`, are compared as they are written.
        Value::Number(text) => {
            let number = serde_json::from_str::<serde_json::Number>(text);
            Some(number.map_or_else(|_| text.as_str().into(), serde_json::Value::Number))
        }
        other => {
            let found = scalar::describe(other);
            ctx.error(
                node.place,
                format!("text, a number or a boolean is wanted here, not {found}"),
                None,
            );
            None
        }
    }
}

pub(super) fn notification(node: &Node, ctx: &mut Context<'_>) -> Option<Notification> {
    let mut f = Fields::of(node, "a notification", ctx)?;
    let webhook = f.required_secret("webhook", ctx);
    if let Some(entry) = f.entry("webhook") {
        scalar::secret_http_url(&entry.value, ctx);
    }
    let on = match f.entry("on") {
        None => vec![NotifyOn::Failure, NotifyOn::Recovery],
        Some(_) => f.filled_list("on", ctx, scalar::choice),
    };
    f.finish(ctx);
    Some(Notification {
        webhook: webhook?,
        on,
    })
}

pub(super) fn env_file(node: &Node, ctx: &mut Context<'_>) -> Option<EnvFile> {
    let mut f = Fields::of(node, "env", ctx)?;
    let file = f.required("file", ctx, scalar::path);
    let allow = f.list("allow", ctx, scalar::variable).unwrap_or_default();
    f.finish(ctx);
    Some(EnvFile { file: file?, allow })
}

pub(super) fn contact(node: &Node, ctx: &mut Context<'_>) -> Option<Contact> {
    let mut f = Fields::of(node, "a contact", ctx)?;
    let role = f.required("role", ctx, scalar::filled_text);
    let reach = f.required("reach", ctx, scalar::filled_text);
    f.finish(ctx);
    Some(Contact {
        role: role?,
        reach: reach?,
    })
}

/// Notes every text that a list names a second time.
pub(super) fn refuse_twice(items: &[Node], what: &str, ctx: &mut Context<'_>) {
    let text = |node: &Node| match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text.clone()),
        _ => None,
    };
    for (index, item) in items.iter().enumerate() {
        if let Some(name) = text(item)
            && items[..index]
                .iter()
                .any(|other| text(other).as_ref() == Some(&name))
        {
            ctx.error(
                item.place,
                format!("{what} names `{}` twice", quoted(&name)),
                None,
            );
        }
    }
}
