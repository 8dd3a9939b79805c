//! How services are run.

use std::collections::BTreeMap;

use super::{Context, Fields, is_variable, quoted, scalar};
use crate::model::{CommandLine, Run};
use crate::node::{Node, Value};
use crate::secret::Secret;

pub(super) fn run(node: &Node, ctx: &mut Context<'_>) -> Option<Run> {
    let mut f = Fields::of(node, "run", ctx)?;
    let command = f.required("command", ctx, command);
    let directory = f.path("directory", ctx);
    let env = f.optional("env", ctx, environment).unwrap_or_default();
    let env_file = f.path("env_file", ctx);
    let user = f.optional("user", ctx, scalar::filled_text);
    let restart = f.optional("restart", ctx, scalar::choice);
    let stop_signal = f.optional("stop_signal", ctx, scalar::choice);
    let log = f.path("log", ctx);
    let pid_file = f.path("pid_file", ctx);
    f.finish(ctx);
    Some(Run {
        command: command?,
        directory: directory.unwrap_or_else(|| ctx.base.to_owned()),
        env,
        env_file,
        user,
        restart: restart.unwrap_or_default(),
        stop_signal: stop_signal.unwrap_or_default(),
        log,
        pid_file,
    })
}

/// A list of program and arguments, or a line for a shell.
pub(super) fn command(node: &Node, ctx: &mut Context<'_>) -> Option<CommandLine> {
    let Value::List(items) = &node.value else {
        return scalar::filled_text(node, ctx).map(CommandLine::Shell);
    };
    let words: Vec<String> = items
        .iter()
        .filter_map(|item| scalar::text(item, ctx))
        .collect();
    if words.len() < items.len() {
        return None;
    }
    if words
        .first()
        .is_none_or(|program| program.trim().is_empty())
    {
        let help = Some("the program, then its arguments".to_owned());
        ctx.error(node.place, "the command names no program", help);
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        ctx.error(node.place, "no argument can hold a zero byte", None);
        return None;
    }
    Some(CommandLine::Program(words))
}

fn environment(node: &Node, ctx: &mut Context<'_>) -> Option<BTreeMap<String, Secret>> {
    let Value::Map(entries) = &node.value else {
        Fields::of(node, "env", ctx)?;
        return None;
    };
    let mut variables = BTreeMap::new();
    for entry in entries {
        if !is_variable(&entry.key) {
            let key = super::shown_key(&entry.key);
            let message = format!("`{key}` is no name of an environment variable");
            let help = Some("letters, digits and `_`, for example `LOG_LEVEL`".to_owned());
            ctx.error(entry.place, message, help);
        } else if let Some(value) = scalar::text(&entry.value, ctx) {
            variables.insert(entry.key.clone(), Secret::new(value));
        }
    }
    Some(variables)
}

/// The name of a unit. Source: systemd.unit(5): letters, digits and `:-_.\@`, then its kind.
pub(super) fn unit(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    let name = scalar::filled_text(node, ctx)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let kinds = [".service", ".target", ".socket"];
    let has_kind = kinds
        .iter()
        .any(|kind| name.len() > kind.len() && name.ends_with(kind));
    if has_kind && name.len() <= 255 && name.bytes().all(allowed) {
        return Some(name);
    }
    let help = Some("for example `nginx.service`".to_owned());
    let message = format!("`{}` is no name of a unit", quoted(&name));
    ctx.error(node.place, message, help);
    None
}
