//! The way back from a swap.

use jiff::Timestamp;
use rekindle_postgres::{
    Client, Mode,
    dump::{Selection, Swapped, databases, swap_databases},
};
use rekindle_stack::Stack;

use super::{
    names::{Role, is_stamped, stamped},
    sessions::{self, Sessions},
};
use crate::{
    RecoveryError,
    database::cluster_of,
    guard::{GuardOptions, permit},
};

/// Which swap is to be undone.
pub struct SwapBack<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// The service whose server it is.
    pub service: String,
    /// The live database.
    pub database: String,
    /// What a person has decided about findings.
    pub guards: GuardOptions,
}

/// Puts the database back that the last swap set aside. The one that is live now is set aside in
/// turn; nothing is dropped.
///
/// # Errors
/// [`RecoveryError::NothingSetAside`]; [`RecoveryError::Refused`] if sessions are at work.
pub fn undo_swap(request: &SwapBack<'_>) -> Result<Swapped, RecoveryError> {
    let cluster = cluster_of(request.stack, &request.service)?;
    let live = &request.database;
    let refused = |source| RecoveryError::Server {
        doing: format!("undo the swap of `{live}`"),
        address: cluster.options().redacted(),
        source: Box::new(source),
    };
    let mut client = Client::connect(cluster.options(), Mode::Sql).map_err(refused)?;
    let all = databases(&mut client, &Selection::All).map_err(refused)?;
    let mut set_aside: Vec<_> = all
        .into_iter()
        .map(|database| database.name)
        .filter(|name| is_stamped(name, live, Role::Before))
        .collect();
    set_aside.sort();
    let Some(before) = set_aside.pop() else {
        return Err(RecoveryError::NothingSetAside {
            database: live.clone(),
        });
    };
    let sessions = Sessions::gather(&mut client, live).map_err(refused)?;
    let findings = sessions::judge(live, sessions).into_iter().collect();
    permit("the undo", findings, &request.guards)?;
    drop(client);
    let undone = stamped(live, Role::Undone, Timestamp::now());
    swap_databases(cluster.options(), live, &before, &undone, false).map_err(refused)
}
