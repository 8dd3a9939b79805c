//! What systemd's refusals are called, and what to do about them.

use std::io::ErrorKind;

use zbus::DBusError as _;

use super::address::Bus;
use crate::RuntimeError;

/// What is being done, and to which service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    pub what: &'a str,
    pub service: &'a str,
    pub unit: &'a str,
}

/// Why a call was not answered as hoped.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was answered: no. The name of the error, as D-Bus knows it, and systemd's words.
    Refused { name: String, words: String },
    /// There was no answer.
    Unreachable(RuntimeError),
}

impl Failure {
    /// Puts a failure into words.
    pub fn explain(self, doing: Doing<'_>) -> RuntimeError {
        match self {
            Self::Unreachable(error) => error,
            Self::Refused { name, words } => RuntimeError::Failed {
                doing: doing.what.to_owned(),
                service: doing.service.to_owned(),
                hint: hint_of(&name, &words, doing),
                reason: if words.is_empty() { name } else { words },
            },
        }
    }
}

/// What the library says, as one of ours.
pub(super) fn failure(bus: &Bus, error: zbus::Error) -> Failure {
    let refused = |name: String, words: Option<&str>| Failure::Refused {
        name,
        words: words.unwrap_or_default().trim().to_owned(),
    };
    match &error {
        zbus::Error::MethodError(name, words, _) => refused(name.to_string(), words.as_deref()),
        zbus::Error::FDO(standard) => {
            let name = standard.name().to_string();
            if is_silence(&name) {
                return Failure::Unreachable(unreachable(bus, error));
            }
            refused(name, standard.description())
        }
        _ => Failure::Unreachable(unreachable(bus, error)),
    }
}

/// Answers of the bus that say that systemd did not answer.
fn is_silence(name: &str) -> bool {
    let name = name.strip_prefix("org.freedesktop.DBus.Error.");
    matches!(
        name,
        Some(
            "ServiceUnknown"
                | "NameHasNoOwner"
                | "NoReply"
                | "Disconnected"
                | "Timeout"
                | "TimedOut"
                | "NoServer"
        )
    )
}

/// There is no bus, no systemd on it, or it went away.
pub(super) fn unreachable(bus: &Bus, error: zbus::Error) -> RuntimeError {
    let of_user = "is a session of that user open? `loginctl enable-linger USER` keeps it open; XDG_RUNTIME_DIR must name its directory";
    let kind = io_kind(&error);
    let hint = match (bus, kind) {
        (Bus::User, _) => of_user,
        (_, Some(ErrorKind::NotFound)) => {
            "there is no such socket: does systemd run this machine, and is dbus installed? Another bus is named by \
             `bus:` of the runtime, or by DBUS_SYSTEM_BUS_ADDRESS"
        }
        (_, Some(ErrorKind::PermissionDenied)) => "this user may not use the bus: run as root",
        (_, Some(ErrorKind::ConnectionRefused)) => {
            "nothing listens there: does the bus run? `systemctl status dbus`"
        }
        (_, Some(ErrorKind::TimedOut)) => {
            "it took the call and did not answer: does `systemctl status` answer?"
        }
        _ => {
            "the connection broke, or nobody there is systemd: does the machine shut down? `systemctl status dbus`"
        }
    };
    RuntimeError::Unreachable {
        runtime: bus.to_string(),
        source: Box::new(error),
        hint: Some(hint.to_owned()),
    }
}

fn io_kind(error: &zbus::Error) -> Option<ErrorKind> {
    match error {
        zbus::Error::InputOutput(error) | zbus::Error::Connection(error, _) => Some(error.kind()),
        _ => None,
    }
}

/// What helps against a refusal.
fn hint_of(name: &str, words: &str, doing: Doing<'_>) -> Option<String> {
    let unit = doing.unit;
    let last = name.rsplit('.').next().unwrap_or_default();
    let hint = match last {
        "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => "run as root; or let polkit allow this user the action \
             org.freedesktop.systemd1.manage-units; or, for units of a user, set `bus: user` of the runtime"
            .to_owned(),
        "UnitMasked" => format!(
            "somebody made sure that it is not started: `systemctl unmask {unit}` lets it be started again"
        ),
        "NoSuchUnit" => not_there(unit),
        "LoadFailed" | "BadUnitSetting" => format!("its file is wrong: `systemd-analyze verify {unit}` says where"),
        "TransactionIsDestructive" | "ShuttingDown" => {
            "systemd is about to do the opposite: does the machine shut down? `systemctl list-jobs`".to_owned()
        }
        "NotSupported" | "UnknownMethod" if doing.what == "pause" => CANNOT_FREEZE.to_owned(),
        _ if words.contains("does not support freezing") => CANNOT_FREEZE.to_owned(),
        _ => return None,
    };
    Some(hint)
}

/// SIGSTOP would do, but systemd does not show it, so nobody could tell a stopped process from a running one.
const CANNOT_FREEZE: &str = "freezing needs systemd 246 and control groups of version 2 \
                             (`stat -fc %T /sys/fs/cgroup` says cgroup2fs); `during_backup: stop` works everywhere";

/// What to do where there is no such unit.
pub(super) fn not_there(unit: &str) -> String {
    format!(
        "`systemctl list-unit-files` names what there is; another one than {unit} is named by `unit:` of the service"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(what: &str, name: &str, words: &str) -> RuntimeError {
        let doing = Doing {
            what,
            service: "web",
            unit: "web.service",
        };
        let refused = Failure::Refused {
            name: name.to_owned(),
            words: words.to_owned(),
        };
        refused.explain(doing)
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (what, name, words, hint) in [
            (
                "stop",
                "org.freedesktop.DBus.Error.AccessDenied",
                "Access denied",
                "polkit",
            ),
            (
                "stop",
                "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
                "Interactive authentication required.",
                "run as root",
            ),
            (
                "start",
                "org.freedesktop.systemd1.UnitMasked",
                "Unit web.service is masked.",
                "systemctl unmask web.service",
            ),
            (
                "start",
                "org.freedesktop.systemd1.NoSuchUnit",
                "Unit web.service not found.",
                "`unit:`",
            ),
            (
                "pause",
                "org.freedesktop.DBus.Error.NotSupported",
                "Unit 'web.service' does not support freezing.",
                "during_backup: stop",
            ),
        ] {
            let error = explained(what, name, words);
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{error:?}");
        }
        let odd = explained("start", "org.example.Odd", "");
        assert!(odd.to_string().contains("org.example.Odd") && odd.hint().is_none());
    }

    #[test]
    fn a_bus_without_systemd_is_no_refusal() {
        let silent = zbus::fdo::Error::ServiceUnknown("no such name".into());
        let failure = failure(&Bus::System, zbus::Error::FDO(Box::new(silent)));
        assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
    }
}
