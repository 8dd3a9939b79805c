//! `vault` and its copies.

use super::{Context, Fields, rules, scalar};
use crate::location::VaultLocation;
use crate::model::{ObjectLock, StoreOptions, Vault, VaultCopy};
use crate::node::{Node, Value};
use crate::secret::SecretSource;

const PARITY_SHARES: std::ops::RangeInclusive<u8> = 5..=50;
const PACK_SIZES: std::ops::RangeInclusive<u64> = 4 << 20..=128 << 20;

pub(super) fn vault(node: &Node, ctx: &mut Context<'_>) -> Option<Vault> {
    let mut f = Fields::of(node, "vault", ctx)?;
    let at = f.required("at", ctx, scalar::location);
    let password = f.required_secret("password", ctx);
    warn_if_inline(&password, node, ctx);
    let credentials = f.secret("credentials", ctx);
    let storage_class = f.optional("storage_class", ctx, scalar::filled_text);
    let object_lock = object_lock(&mut f, at.as_ref(), ctx);
    let store = f.optional("store", ctx, store).unwrap_or_default();
    let compression = f
        .optional("compression", ctx, scalar::choice)
        .unwrap_or_default();
    let pack_size = f.optional("pack_size", ctx, pack_size);
    let parity = f.optional("parity", ctx, parity);
    let copies = copies(&mut f, ctx);
    let escrow = f.list("escrow", ctx, recipient).unwrap_or_default();
    f.finish(ctx);
    Some(Vault {
        at: at?,
        password: password?,
        credentials,
        storage_class,
        object_lock,
        store,
        compression,
        pack_size,
        parity,
        copies,
        escrow,
    })
}

fn warn_if_inline(password: &Option<SecretSource>, node: &Node, ctx: &mut Context<'_>) {
    if let (Some(SecretSource::Inline(_)), Value::Map(entries)) = (password, &node.value)
        && let Some(entry) = entries.iter().find(|entry| entry.key == "password")
    {
        let help = "`password_file` keeps it out of what is copied, shown and committed";
        ctx.warn(
            entry.place,
            "the password of the vault stands in the file",
            help,
        );
    }
}

/// A text of the form of an X25519 recipient of age: 32 bytes and a checksum in Bech32, 62 characters.
/// The checksum is looked at when it is used.
fn recipient(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    const COLUMNS: usize = 62;
    let text = scalar::filled_text(node, ctx)?;
    let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.len() != COLUMNS || !text.starts_with("age1") || !text.chars().all(is_lower) {
        let help = "`age-keygen` makes one: `age1…` is for here, `AGE-SECRET-KEY-1…` for a safe";
        // It is not repeated: somebody may have put the secret key here.
        ctx.error(
            node.place,
            "this is no recipient of age",
            Some(help.to_owned()),
        );
        return None;
    }
    Some(text)
}

fn pack_size(node: &Node, ctx: &mut Context<'_>) -> Option<u64> {
    let size = scalar::size(node, ctx)?;
    if !PACK_SIZES.contains(&size) {
        ctx.error(node.place, "a pack size is 4MiB to 128MiB", None);
        return None;
    }
    Some(size)
}

fn parity(node: &Node, ctx: &mut Context<'_>) -> Option<u8> {
    let percent = scalar::percent(node, ctx)?;
    if !PARITY_SHARES.contains(&percent) {
        let help = "who wants more wants a copy on another disk: `vault.copies`";
        ctx.error(node.place, "parity is 5% to 50%", Some(help.to_owned()));
        return None;
    }
    Some(percent)
}

fn copies(f: &mut Fields<'_>, ctx: &mut Context<'_>) -> Vec<VaultCopy> {
    let mut copies: Vec<VaultCopy> = Vec::new();
    let nodes = match f.entry("copies").map(|entry| &entry.value.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => f.list("copies", ctx, copy).map_or(&[], |_| &[]),
    };
    for node in nodes {
        let Some(copy) = copy(node, ctx) else {
            continue;
        };
        if copies.iter().any(|other| other.name == copy.name) {
            ctx.error(
                node.place,
                format!("another copy has the name `{}`, too", copy.name),
                None,
            );
        }
        copies.push(copy);
    }
    copies
}

fn copy(node: &Node, ctx: &mut Context<'_>) -> Option<VaultCopy> {
    let mut f = Fields::of(node, "a copy of the vault", ctx)?;
    let name = f.required("name", ctx, scalar::name);
    let at = f.required("at", ctx, scalar::location);
    let storage_class = f.optional("storage_class", ctx, scalar::filled_text);
    let credentials = f.secret("credentials", ctx);
    let password = f.secret("password", ctx);
    warn_if_inline(&password, node, ctx);
    let retention = f.optional("retention", ctx, rules::retention);
    let object_lock = object_lock(&mut f, at.as_ref(), ctx);
    let store = f.optional("store", ctx, store).unwrap_or_default();
    f.finish(ctx);
    Some(VaultCopy {
        name: name?,
        at: at?,
        storage_class,
        credentials,
        password,
        retention,
        object_lock,
        store,
    })
}

/// How objects are locked, and that they can be: nobody must believe in a lock that is none.
fn object_lock(
    f: &mut Fields<'_>,
    at: Option<&VaultLocation>,
    ctx: &mut Context<'_>,
) -> Option<ObjectLock> {
    let lock = f.optional("object_lock", ctx, read_object_lock)?;
    if at.is_some_and(|at| !matches!(at, VaultLocation::S3 { .. })) {
        let help = "leave it out, or put the vault into a bucket: `at: \"s3://bucket/prefix\"`";
        if let Some(entry) = f.entry("object_lock") {
            let message = "only a place of S3 has Object Lock";
            ctx.error(entry.place, message, Some(help.to_owned()));
        }
        return None;
    }
    Some(lock)
}

fn read_object_lock(node: &Node, ctx: &mut Context<'_>) -> Option<ObjectLock> {
    let mut f = Fields::of(node, "how objects are locked", ctx)?;
    let mode = f.optional("mode", ctx, scalar::choice).unwrap_or_default();
    let days = f.required("days", ctx, days);
    f.finish(ctx);
    Some(ObjectLock { mode, days: days? })
}

fn days(node: &Node, ctx: &mut Context<'_>) -> Option<u16> {
    const MOST: u32 = 36_500;
    let days = scalar::count(node, ctx)?;
    if days > MOST {
        ctx.error(node.place, "objects are locked for 1 to 36500 days", None);
        return None;
    }
    u16::try_from(days).ok()
}

fn store(node: &Node, ctx: &mut Context<'_>) -> Option<StoreOptions> {
    let mut f = Fields::of(node, "how a store is spoken to", ctx)?;
    let options = StoreOptions {
        path_style: f.optional("path_style", ctx, scalar::boolean),
        ca_file: f.path("ca_file", ctx),
        encryption: f.optional("encryption", ctx, encryption),
        upload_limit: f.optional("upload_limit", ctx, scalar::size),
        download_limit: f.optional("download_limit", ctx, scalar::size),
        retry_for: f.optional("retry_for", ctx, scalar::period),
        ssh_config: f.path("ssh_config", ctx),
    };
    f.finish(ctx);
    Some(options)
}

fn encryption(node: &Node, ctx: &mut Context<'_>) -> Option<String> {
    let text = scalar::filled_text(node, ctx)?;
    if text == "AES256" || text == "aws:kms" || text.starts_with("aws:kms:") {
        return Some(text);
    }
    let message = "a store's encryption is `AES256`, `aws:kms`, or `aws:kms:` and a key";
    ctx.error(node.place, message, None);
    None
}
