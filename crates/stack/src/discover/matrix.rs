//! The component matrix: what is stateful, and what is done with each service in a recovery.

use super::engine::Engine;
use super::propose::{Proposal, ProposedService};

/// A row of the component matrix.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ComponentRow {
    /// The service.
    pub service: String,
    /// What it is.
    pub component: String,
    /// Whether it holds state that must survive.
    pub stateful: bool,
    /// Whether the stack is not itself again before this is restored.
    pub needs_restore: bool,
    /// What is done with it in a recovery.
    pub what_to_do: &'static str,
}

impl Proposal {
    /// What is stateful, what needs a restore, and what to do with each, in the order of the file.
    pub fn matrix(&self) -> Vec<ComponentRow> {
        self.services.iter().map(row).collect()
    }
}

fn row(service: &ProposedService) -> ComponentRow {
    let unknown = match service.is_built {
        true => "application (built)",
        false => "application",
    };
    let stateful = !service.is_stateless();
    let what_to_do = match (stateful, service.component.engine) {
        (false, _) if service.is_built => "build and start again",
        (false, _) => "start again",
        (true, Engine::Postgres) => "restore the cluster, then start what needs it",
        (true, Engine::Redis) => "restore; empty, it costs sessions and cached answers",
        (true, Engine::Meilisearch) => "restore, or let the application index anew",
        (true, Engine::S3) => "restore the objects",
        (true, Engine::OtherDatabase) => "restore its files, then start",
        (true, Engine::Other) => "restore its files, then start",
    };
    ComponentRow {
        service: service.name.to_string(),
        component: service.component.product.unwrap_or(unknown).to_owned(),
        stateful,
        needs_restore: stateful
            && !matches!(
                service.component.engine,
                Engine::Meilisearch | Engine::Redis
            ),
        what_to_do,
    }
}
