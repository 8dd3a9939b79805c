//! The whole, and what only the whole can tell: names that refer to each other.

use super::{Context, Fields, Needs, rules, scalar, service, vault};
use crate::model::{Dataset, Runtime, Service, Stack};
use crate::node::{Node, Place, Value};
use crate::suggest;

/// Reads the stack; nothing if a part without which there is none is wrong.
pub(crate) fn stack(node: &Node, ctx: &mut Context<'_>) -> Option<Stack> {
    if matches!(node.value, Value::Null) {
        let help = Some("`rekindle init` writes one to begin with".to_owned());
        ctx.error(
            Place {
                line: 1,
                column: 1,
                ..node.place
            },
            "the file is empty",
            help,
        );
        return None;
    }
    let mut f = Fields::of(node, "the stack", ctx)?;
    let env = f.optional("env", ctx, rules::env_file);
    ctx.env_file = env.as_ref().map(|env| env.file.clone());
    let name = f.required("stack", ctx, scalar::name);
    let runtime = f.optional("runtime", ctx, runtime).unwrap_or_default();
    let vault = f.required("vault", ctx, vault::vault);
    let services = f.required("services", ctx, services);
    let schedule = f.list("schedule", ctx, rules::task).unwrap_or_default();
    let retention = f
        .optional("retention", ctx, rules::retention)
        .unwrap_or_default();
    let tripwire = f
        .optional("tripwire", ctx, rules::tripwire)
        .unwrap_or_default();
    let checks = rules::checks(&mut f, ctx);
    let notify = f
        .list("notify", ctx, rules::notification)
        .unwrap_or_default();
    let contacts = f.list("contacts", ctx, rules::contact).unwrap_or_default();
    f.finish(ctx);
    let services = services?;
    resolve(&services, ctx);
    let services = services
        .into_iter()
        .filter_map(|named| named.service)
        .collect();
    Some(Stack {
        directory: ctx.base.to_path_buf(),
        path: std::path::PathBuf::new(),
        name: name?,
        runtime,
        vault: vault?,
        services,
        schedule,
        retention,
        tripwire,
        checks,
        notify,
        env,
        contacts,
    })
}

/// A service's entry, also one that could not be read: its name can still be referred to.
struct Named {
    key: String,
    place: Place,
    service: Option<Service>,
}

fn services(node: &Node, ctx: &mut Context<'_>) -> Option<Vec<Named>> {
    let Value::Map(entries) = &node.value else {
        Fields::of(node, "services", ctx)?;
        return None;
    };
    if entries.is_empty() {
        ctx.error(node.place, "services names no service", None);
    }
    let named = entries.iter().map(|entry| Named {
        key: entry.key.clone(),
        place: entry.place,
        service: service::service(entry, ctx),
    });
    Some(named.collect())
}

fn runtime(node: &Node, ctx: &mut Context<'_>) -> Option<Runtime> {
    const KINDS: [&str; 4] = ["compose", "kubernetes", "systemd", "process"];
    let mut f = Fields::of(node, "runtime", ctx)?;
    let kind = f.required("kind", ctx, scalar::text)?;
    let runtime = match kind.as_str() {
        "compose" => Runtime::Compose {
            project: f.optional("project", ctx, scalar::filled_text),
            files: f.list("files", ctx, scalar::path).unwrap_or_default(),
        },
        "kubernetes" => Runtime::Kubernetes {
            namespace: f.optional("namespace", ctx, scalar::filled_text),
            context: f.optional("context", ctx, scalar::filled_text),
        },
        "systemd" => Runtime::Systemd {
            bus: f.optional("bus", ctx, bus),
        },
        "process" => Runtime::Process,
        other => {
            let place = f
                .entry("kind")
                .map_or(node.place, |entry| entry.value.place);
            let help = suggest::help(other, KINDS, "one of");
            ctx.error(
                place,
                format!("`{}` is no kind of runtime", super::quoted(other)),
                help,
            );
            return None;
        }
    };
    f.finish(ctx);
    Some(runtime)
}

/// A name of a bus, or its address: a transport and what belongs to it. Source: D-Bus specification.
fn bus(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    let name = scalar::filled_text(node, ctx)?;
    let is_transport = |(transport, _): (&str, &str)| {
        !transport.is_empty()
            && transport
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if matches!(name.as_str(), "system" | "user") || name.split_once(':').is_some_and(is_transport)
    {
        return Some(name);
    }
    let help = Some(
        "`system`, `user`, or an address such as `unix:path=/run/dbus/system_bus_socket`"
            .to_owned(),
    );
    let message = format!("`{}` is no bus", super::quoted(&name));
    ctx.error(node.place, message, help);
    None
}

/// Checks every service that is named somewhere, and looks for cycles.
fn resolve(services: &[Named], ctx: &mut Context<'_>) {
    for reference in std::mem::take(&mut ctx.references) {
        let (name, place) = (&reference.service, reference.place);
        let Some(found) = services.iter().find(|service| service.key == *name) else {
            let keys = services.iter().map(|service| service.key.as_str());
            let help = suggest::help(name, keys, "services");
            let message = format!(
                "`{}` names the unknown service `{}`",
                reference.key,
                super::quoted(name)
            );
            ctx.error(place, message, help);
            continue;
        };
        if reference.needs == Needs::Postgres && !found.service.as_ref().is_none_or(has_postgres) {
            ctx.error(
                place,
                format!("service `{name}` has no `postgres` dataset to ask"),
                None,
            );
        }
    }
    for (cycle, place) in cycles(services) {
        let help = Some("one of them must start without the other".to_owned());
        ctx.error(
            place,
            format!("services depend on each other: {}", cycle.join(" → ")),
            help,
        );
    }
}

fn has_postgres(service: &Service) -> bool {
    service
        .datasets
        .iter()
        .any(|dataset| matches!(dataset, Dataset::Postgres(_)))
}

/// Each cycle of dependencies once, with the place of its first service in the file.
fn cycles(services: &[Named]) -> Vec<(Vec<&str>, Place)> {
    let mut found: Vec<(Vec<&str>, Place)> = Vec::new();
    let mut done = vec![false; services.len()];
    for start in 0..services.len() {
        // Depth first with a stack of our own: (service, how many of its dependencies were seen).
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((at, seen)) = path.last_mut() {
            let needs = services[*at]
                .service
                .as_ref()
                .map_or(&[][..], |s| &s.depends_on[..]);
            let next = needs.get(*seen).filter(|_| !done[*at]);
            *seen += 1;
            let Some(need) = next else {
                done[*at] = true;
                path.pop();
                continue;
            };
            let Some(next) = services.iter().position(|s| s.key == **need) else {
                continue;
            };
            match path.iter().position(|(on_path, _)| *on_path == next) {
                Some(begin) => {
                    let mut names: Vec<&str> = path[begin..]
                        .iter()
                        .map(|(i, _)| services[*i].key.as_str())
                        .collect();
                    names.push(&services[next].key);
                    found.push((names, services[next].place));
                }
                None if !done[next] => path.push((next, 0)),
                None => {}
            }
        }
    }
    found
}
