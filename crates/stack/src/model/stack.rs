use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;

use super::{
    Check, Contact, EnvFile, Notification, Retention, ScheduledTask, Service, Tripwire, Vault,
};
use crate::name::Name;

/// All that one `rekindle.yaml` describes.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(title = "rekindle.yaml", deny_unknown_fields)]
#[non_exhaustive]
pub struct Stack {
    /// The directory of `rekindle.yaml`, where relative paths begin.
    #[schemars(skip)]
    pub directory: PathBuf,
    /// That file.
    #[schemars(skip)]
    pub path: PathBuf,
    /// Name of the stack.
    #[schemars(rename = "stack")]
    pub name: Name,
    /// What runs the services.
    #[schemars(extend("default" = { "kind": "process" }))]
    pub runtime: Runtime,
    /// Where recovery points are kept.
    pub vault: Vault,
    /// The services by name, stateless ones included: what is not named here is not brought back.
    #[schemars(with = "BTreeMap<Name, Service>")]
    pub services: Vec<Service>,
    /// What is done by itself, and when.
    #[schemars(extend("default" = []))]
    pub schedule: Vec<ScheduledTask>,
    /// Which recovery points are kept. Without it, all are.
    #[schemars(extend("default" = {}))]
    pub retention: Retention,
    /// When a backup is suspicious: `false` for never, or shares of a dataset.
    #[schemars(extend("default" = {}))]
    pub tripwire: Tripwire,
    /// Questions to the restored data that must be answered as expected.
    #[schemars(extend("default" = []))]
    pub checks: Vec<Check>,
    /// Who is told what.
    #[schemars(extend("default" = []))]
    pub notify: Vec<Notification>,
    /// The stack's `.env` file, and what may be changed in it.
    pub env: Option<EnvFile>,
    /// Who is to be called; printed in runbooks and reports.
    #[schemars(extend("default" = []))]
    pub contacts: Vec<Contact>,
}

/// What runs the services.
#[derive(Clone, Debug, PartialEq, Eq, Default, JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Runtime {
    /// Docker Compose.
    Compose {
        /// Name of the Compose project. Default: the stack's name.
        project: Option<String>,
        /// Its Compose files, in the order in which Compose is given them. Default: those that
        /// Compose finds beside `rekindle.yaml`.
        #[schemars(extend("default" = []))]
        files: Vec<PathBuf>,
    },
    /// Kubernetes.
    Kubernetes {
        /// Namespace of the services. Default: that of the kubeconfig's context.
        namespace: Option<String>,
        /// Context of the kubeconfig. Default: its current one.
        context: Option<String>,
    },
    /// Units of systemd.
    Systemd {
        /// The bus it is asked on: `system` for the machine's own, `user` for the units of the user
        /// who runs Rekindle, or an address of D-Bus. Default: `system`.
        bus: Option<String>,
    },
    /// Ordinary processes, or services that something else runs.
    #[default]
    Process,
}

impl Stack {
    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services
            .iter()
            .find(|service| service.name.as_str() == name)
    }

    /// When a backup of this service is suspicious.
    pub fn tripwire_of(&self, service: &Service) -> Tripwire {
        service.tripwire.unwrap_or(self.tripwire)
    }

    /// The services so that each comes after all it depends on; otherwise as in the file.
    pub fn start_order(&self) -> Vec<&Service> {
        let mut ordered: Vec<&Service> = Vec::new();
        let mut waiting: Vec<&Service> = self.services.iter().collect();
        while !waiting.is_empty() {
            let is_ready = |service: &&Service| {
                service
                    .depends_on
                    .iter()
                    .all(|need| !waiting.iter().any(|s| s.name == *need))
            };
            // A checked stack has no cycle; one built by hand still must not hang us.
            let next = waiting.iter().position(is_ready).unwrap_or(0);
            ordered.push(waiting.remove(next));
        }
        ordered
    }
}
