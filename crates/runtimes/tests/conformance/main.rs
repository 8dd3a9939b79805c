//! What every runtime promises. A runtime is finished when its world passes.
//!
//! A [`World`] offers the same few services, run by one kind of runtime; each promise is a function
//! over it. To add a runtime, implement [`World`] and name it in a `keeps!` of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set itself up should fail"
)]

#[path = "../common/mod.rs"]
mod common;
mod containers;
mod podman;
mod processes;
mod promises;
mod units;

use std::path::PathBuf;

use rekindle_runtimes::Runtime;
use rekindle_stack::Stack;

/// Services run by one kind of runtime, made anew for each promise and gone when dropped:
///
/// - `web`: stays up, says `web is up` in its log, and is well a moment later; knows the variable
///   `COLOUR=blue`;
/// - `app`: needs `web`, stays up;
/// - `broken`: says `no luck` and ends with exit code 3, and is not started again;
/// - `deaf`: stays up and ignores SIGTERM; says `deaf` once it does;
/// - `loyal`: stays up, and is started again if it fails;
/// - `store`: keeps files in a storage, whose only entry is the file `kept` of owner 1234 (as root)
///   and mode 0640.
trait World {
    fn stack(&self) -> &Stack;
    fn runtime(&self) -> &dyn Runtime;
    /// A directory that the runtime's machine has under the same path.
    fn shared(&self) -> PathBuf {
        std::env::temp_dir()
    }
    /// Kills the process of a service behind the runtime's back.
    fn kill(&self, service: &str);
}

/// A promise, which a world keeps or breaks.
type Promise = fn(&dyn World);

/// A test for each promise, over the worlds that `$make` makes (`each $make`); `None` if there is none here, which
/// it has told by then. Or one test for all of them (`all $make`), over worlds that share what is costly: `$make` is
/// given the promises by name.
macro_rules! keeps {
    (each $make:path: $($promise:ident)+) => {
        $(#[test]
        fn $promise() {
            if let Some(world) = $make() {
                crate::promises::$promise(&world);
            }
        })+
    };
    (all $make:path: $($promise:ident)+) => {
        #[test]
        fn every_promise_is_kept() {
            $make(&[$((stringify!($promise), crate::promises::$promise as crate::Promise),)+]);
        }
    };
    ($how:ident $make:path) => {
        keeps! {
            $how $make:
            start_stop_and_restart_may_be_asked_for_twice
            a_list_names_every_service_with_its_state_and_why
            stop_kills_after_its_limit
            a_failed_service_shows_how_it_ended
            a_killed_service_is_started_again_or_shown_as_failed_as_its_policy_says
            a_paused_service_is_shown_and_goes_on
            logs_have_what_was_said_and_end_where_they_should
            exec_passes_every_byte_both_ways_and_the_exit_code
            exec_has_the_environment_of_the_service_and_its_own
            a_command_that_takes_too_long_is_ended
            start_order_is_that_of_the_graph
            an_unhealthy_service_gates_those_that_need_it
            storage_keeps_owner_and_mode_on_the_way_out_and_in
            an_unknown_service_is_absent_and_cannot_be_started
            a_sandbox_has_what_it_was_given_and_no_network_and_the_live_files_stay
            a_sandbox_shows_how_another_program_ended
        }
    };
}
pub(crate) use keeps;

#[test]
fn supervisor() {
    common::be_supervisor();
}
