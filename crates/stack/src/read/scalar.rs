//! Single values.

use std::path::PathBuf;
use std::str::FromStr;

use super::{Context, quoted};
use crate::address::TcpAddress;
use crate::choice::Choice;
use crate::cron::CronExpression;
use crate::location::VaultLocation;
use crate::name::Name;
use crate::node::{Node, Value};
use crate::period::Period;
use crate::suggest;
use crate::url::{ServiceUrl, UrlError};

/// What a value is, in a message.
pub(crate) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

fn wrong(node: &Node, ctx: &mut Context<'_>, wanted: &str) {
    let found = describe(&node.value);
    ctx.error(
        node.place,
        format!("{wanted} is wanted here, not {found}"),
        None,
    );
}

/// Text; a number or a boolean counts as the text it was written as.
pub(crate) fn text(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        _ => {
            wrong(node, ctx, "text");
            None
        }
    }
}

pub(crate) fn filled_text(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    let text = text(node, ctx)?;
    if text.trim().is_empty() {
        ctx.error(node.place, "the text is empty", None);
        return None;
    }
    Some(text)
}

pub(crate) fn boolean(node: &Node, ctx: &mut Context<'_>) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => return Some(*value),
        Value::Text(text) if matches!(text.as_str(), "yes" | "on" | "no" | "off") => {
            let meant = matches!(text.as_str(), "yes" | "on");
            let help = Some(format!("write `{meant}`"));
            ctx.error(node.place, "`true` or `false` is wanted here", help);
        }
        _ => wrong(node, ctx, "`true` or `false`"),
    }
    None
}

/// How many to keep: at least one.
pub(crate) fn count(node: &Node, ctx: &mut Context<'_>) -> Option<u32> {
    let Value::Number(text) = &node.value else {
        wrong(node, ctx, "a count");
        return None;
    };
    match text.parse() {
        Ok(0) => {
            let help = Some("leave the key out to keep none of this class".to_owned());
            ctx.error(node.place, "a count is 1 or more", help);
            None
        }
        Ok(count) => Some(count),
        Err(_) => {
            ctx.error(node.place, format!("`{}` is no count", quoted(text)), None);
            None
        }
    }
}

/// A share, from 1 to 100 in a hundred.
pub(crate) fn percent(node: &Node, ctx: &mut Context<'_>) -> Option<u8> {
    let text = text(node, ctx)?;
    let number = text.strip_suffix('%').map(str::trim_end);
    let share = number.and_then(|number| number.parse().ok());
    let share = share.filter(|share| (1..=100).contains(share));
    if share.is_none() {
        let help = Some("a share from `1%` to `100%`".to_owned());
        ctx.error(node.place, format!("`{}` is no share", quoted(&text)), help);
    }
    share
}

/// A size in bytes: a number, or one with KiB, MiB or GiB.
pub(crate) fn size(node: &Node, ctx: &mut Context<'_>) -> Option<u64> {
    let text = text(node, ctx)?;
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let factor = match text[split..].trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1u64 << 30),
        _ => None,
    };
    let size = factor.and_then(|factor| text[..split].parse::<u64>().ok()?.checked_mul(factor));
    if size.is_none() {
        let help = Some("for example `16MiB`; units are KiB, MiB, GiB".to_owned());
        ctx.error(node.place, format!("`{}` is no size", quoted(&text)), help);
    }
    size
}

pub(crate) fn period(node: &Node, ctx: &mut Context<'_>) -> Option<Period> {
    let text = text(node, ctx)?;
    let help = "for example `30m`, `1h30m`, `7d`; units are w, d, h, m, s";
    parsed(&text, node, ctx, "length of time", Some(help))
}

pub(crate) fn name(node: &Node, ctx: &mut Context<'_>) -> Option<Name> {
    let text = text(node, ctx)?;
    parsed(&text, node, ctx, "name", None)
}

pub(crate) fn cron(node: &Node, ctx: &mut Context<'_>) -> Option<CronExpression> {
    let text = text(node, ctx)?;
    parsed(
        &text,
        node,
        ctx,
        "schedule",
        Some("for example `0 2 * * *`: every day at 02:00"),
    )
}

fn parsed<T: FromStr>(
    text: &str,
    node: &Node,
    ctx: &mut Context<'_>,
    what: &str,
    help: Option<&str>,
) -> Option<T>
where
    T::Err: std::fmt::Display,
{
    let problem = match text.parse() {
        Ok(value) => return Some(value),
        Err(problem) => problem,
    };
    let message = format!("`{}` is no {what}: {problem}", quoted(text));
    ctx.error(node.place, message, help.map(str::to_owned));
    None
}

/// A port of a host.
pub(crate) fn tcp_address(node: &Node, ctx: &mut Context<'_>) -> Option<TcpAddress> {
    let text = text(node, ctx)?;
    let help = Some("for example `localhost:5432`");
    parsed(&text, node, ctx, "address of a port", help)
}

/// One of a few words.
pub(crate) fn choice<C: Choice>(node: &Node, ctx: &mut Context<'_>) -> Option<C> {
    let text = text(node, ctx)?;
    let found = C::ALL.iter().find(|choice| choice.word() == text);
    if found.is_none() {
        let words = C::ALL.iter().map(|choice| choice.word());
        let help = suggest::help(&text, words, "one of");
        ctx.error(
            node.place,
            format!("`{}` is no {}", quoted(&text), C::WHAT),
            help,
        );
    }
    found.copied()
}

/// A path; a relative one begins at the file's directory.
pub(crate) fn path(node: &Node, ctx: &mut Context<'_>) -> Option<PathBuf> {
    let text = filled_text(node, ctx)?;
    if text == "~" || text.starts_with("~/") {
        let help = Some("write the path in full".to_owned());
        ctx.error(
            node.place,
            "`~` is not replaced by a home directory here",
            help,
        );
        return None;
    }
    Some(ctx.base.join(text))
}

/// Whether `text` can be the name of an environment variable, by the shell's rules.
pub(crate) fn is_variable(text: &str) -> bool {
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    begins && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The name of an environment variable.
pub(crate) fn variable(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    let text = text(node, ctx)?;
    if is_variable(&text) {
        return Some(text);
    }
    // Not quoted: who writes no name here has probably written the secret itself.
    let help = Some("letters, digits and `_`, for example `VAULT_PASSWORD`".to_owned());
    ctx.error(
        node.place,
        "this is no name of an environment variable",
        help,
    );
    None
}

pub(crate) fn location(node: &Node, ctx: &mut Context<'_>) -> Option<VaultLocation> {
    let text = filled_text(node, ctx)?;
    if text.starts_with('~') {
        path(node, ctx)?;
    }
    match VaultLocation::parse(&text, ctx.base) {
        Ok(location) => Some(location),
        Err(problem) => {
            ctx.error(
                node.place,
                problem.to_string(),
                problem.help().map(str::to_owned),
            );
            None
        }
    }
}

pub(crate) fn postgres_url(node: &Node, ctx: &mut Context<'_>) -> Option<ServiceUrl> {
    url(node, ctx, &["postgres", "postgresql"])
}

pub(crate) fn redis_url(node: &Node, ctx: &mut Context<'_>) -> Option<ServiceUrl> {
    url(node, ctx, &["redis", "rediss", "unix"])
}

pub(crate) fn http_url(node: &Node, ctx: &mut Context<'_>) -> Option<ServiceUrl> {
    url(node, ctx, &["http", "https"])
}

/// Checks a URL that is itself the secret.
pub(crate) fn secret_http_url(node: &Node, ctx: &mut Context<'_>) {
    if matches!(node.value, Value::Text(_)) {
        bare_url(node, ctx, &["http", "https"]);
    }
}

fn url(node: &Node, ctx: &mut Context<'_>, schemes: &[&str]) -> Option<ServiceUrl> {
    let url = bare_url(node, ctx, schemes)?;
    if url.password().is_some() {
        let help = "masked in every output; a file or variable of its own is safer";
        ctx.warn(node.place, "a password stands in the URL", help);
    }
    Some(url)
}

fn bare_url(node: &Node, ctx: &mut Context<'_>, schemes: &[&str]) -> Option<ServiceUrl> {
    let text = text(node, ctx)?;
    match ServiceUrl::parse(&text, schemes) {
        Ok(url) => Some(url),
        Err(problem) => {
            let help = match &problem {
                UrlError::Scheme { found, .. } => suggest::nearest(found, schemes.iter().copied())
                    .map(|near| format!("did you mean `{near}`?")),
                UrlError::NoScheme(scheme) => Some(format!("for example `{scheme}://host:port`")),
                UrlError::Character => Some("write it as `%` and two hexadecimal digits".into()),
                _ => None,
            };
            ctx.error(node.place, problem.to_string(), help);
            None
        }
    }
}
