//! Reading `rekindle.yaml` from beginning to end.

use std::io;
use std::path::{Path, PathBuf};

use crate::excerpt::Mask;
use crate::model::Stack;
use crate::node::{self, Place};
use crate::problem::{ConfigErrors, Problem};
use crate::read::{self, Context, Finding, FoundSecret};
use crate::secret::{SecretError, SecretSource, others_may_read};

/// Largest file read. A configuration a hundred times the usual size still fits.
pub const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;

/// A configuration that is right, and what there is to say about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// What the file says.
    pub stack: Stack,
    /// The file, as it was named to us.
    pub path: PathBuf,
    /// What works but should not stay, such as a password that others can read.
    pub warnings: Vec<Problem>,
    /// Secrets that could not be read: file missing or empty, variable not set.
    ///
    /// They do not stop the loading, because whoever restores one service on a new machine may not
    /// have the secrets of all others. [`SecretSource::read`] fails when it is needed.
    pub unreadable_secrets: Vec<Problem>,
}

impl Stack {
    /// Reads and checks the file at `path`, and looks whether its secrets can be read.
    ///
    /// # Errors
    /// [`ConfigErrors::Read`] if there is no such file, [`ConfigErrors::Invalid`] with all problems
    /// of it otherwise.
    pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
        let failed = |source| ConfigErrors::Read {
            path: path.to_owned(),
            source,
        };
        let text = read_text(path).map_err(failed)?;
        // Absolute, so that a later change of the working directory changes no meaning.
        let absolute = std::path::absolute(path).map_err(failed)?;
        understand(&text, path, &absolute, true)
    }

    /// Checks `text` as if it were the content of the file `origin`, without touching the world:
    /// `unreadable_secrets` stays empty.
    ///
    /// Relative paths begin at the directory of `origin`.
    ///
    /// # Errors
    /// [`ConfigErrors::Invalid`] with all problems found.
    pub fn parse(text: &str, origin: &Path) -> Result<Loaded, ConfigErrors> {
        understand(text, origin, origin, false)
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let data = path.metadata()?;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    if !data.is_file() {
        return refuse("it is not a regular file");
    }
    if data.len() > MAX_CONFIG_BYTES {
        return refuse("it is larger than 4 MiB");
    }
    std::fs::read_to_string(path)
}

fn understand(
    text: &str,
    origin: &Path,
    absolute: &Path,
    look_at_secrets: bool,
) -> Result<Loaded, ConfigErrors> {
    // A byte order mark is no error, but would move every column of the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = match node::parse(text) {
        Ok(root) => root,
        Err(wrong) => {
            let place = wrong.place.unwrap_or(Place {
                line: 1,
                column: 1,
                ..Place::default()
            });
            let finding = Finding {
                place,
                message: wrong.message,
                help: None,
            };
            let mask = Mask::of_broken(text);
            return Err(ConfigErrors::Invalid(problems(
                vec![finding],
                text,
                origin,
                &mask,
            )));
        }
    };
    let mask = Mask::of_tree(&root);
    let mut ctx = Context::new(absolute.parent().unwrap_or(Path::new("")));
    let stack = read::stack(&root, &mut ctx);
    let Some(mut stack) = stack.filter(|_| ctx.errors.is_empty()) else {
        return Err(ConfigErrors::Invalid(problems(
            ctx.errors, text, origin, &mask,
        )));
    };
    stack.path = absolute.to_owned();
    let mut unreadable = Vec::new();
    if look_at_secrets {
        for secret in std::mem::take(&mut ctx.secrets) {
            unreadable.extend(look_at(&secret, absolute, &mut ctx));
        }
    }
    Ok(Loaded {
        stack,
        path: origin.to_owned(),
        warnings: problems(ctx.warnings, text, origin, &mask),
        unreadable_secrets: problems(unreadable, text, origin, &mask),
    })
}

/// Says what is wrong with a secret, and warns if strangers can read it.
fn look_at(secret: &FoundSecret, config: &Path, ctx: &mut Context<'_>) -> Option<Finding> {
    let place = secret.place;
    if secret.source.is_readable_by_others() {
        let help = "`chmod o-r` takes that from them";
        ctx.warn(
            place,
            "every user of this machine can read the secret file",
            help,
        );
    }
    if matches!(secret.source, SecretSource::Inline(_)) && others_may_read(config) {
        let help = "`chmod o-r` this file, or move the secret into a file of its own";
        ctx.warn(
            place,
            "every user of this machine can read the secret in this file",
            help,
        );
    }
    let message = match secret.source.read() {
        Ok(_) => return None,
        Err(SecretError::Read { path, source }) => {
            format!("secret file {} cannot be read: {source}", path.display())
        }
        Err(other) => other.to_string(),
    };
    Some(Finding {
        place,
        message,
        help: None,
    })
}

fn problems(found: Vec<Finding>, text: &str, origin: &Path, mask: &Mask) -> Vec<Problem> {
    let mut problems: Vec<Problem> = found
        .into_iter()
        .map(|finding| Problem {
            origin: origin.to_owned(),
            line: finding.place.line,
            column: finding.place.column,
            message: finding.message,
            help: finding.help,
            excerpt: mask.excerpt(text, finding.place),
        })
        .collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.dedup();
    problems
}
