//! The Compose project of a stack, as its files describe it.

use rekindle_stack::{
    Runtime, Stack,
    compose::{self, ComposeError, Project},
};

/// Reads the Compose project of the stack; `None` if it is run by something else.
///
/// Its files are those of `runtime.files`, else those that Compose finds beside `rekindle.yaml`.
///
/// # Errors
/// [`ComposeError`] if there are none, or they cannot be read.
#[must_use]
pub fn compose_project(stack: &Stack) -> Option<Result<Project, ComposeError>> {
    let Runtime::Compose { project, files, .. } = &stack.runtime else {
        return None;
    };
    let variable = |name: &str| std::env::var(name).ok();
    let read = compose::load(&stack.directory, files, &variable);
    Some(read.map(|mut read| {
        if let Some(name) = project {
            read.name.clone_from(name);
        }
        read
    }))
}
