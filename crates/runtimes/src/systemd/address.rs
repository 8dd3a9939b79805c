//! Which bus is asked.

use std::fmt;

/// A bus with a systemd on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The machine's own; another one if `DBUS_SYSTEM_BUS_ADDRESS` names it.
    System,
    /// That of the user who runs this program, with the units of `systemctl --user`.
    User,
    /// One at an address, as D-Bus writes it: `unix:path=/run/dbus/system_bus_socket`. Source: D-Bus specification,
    /// "Server Addresses".
    At(String),
}

impl Bus {
    /// As `bus` of the configuration names it; the machine's own without a word.
    #[must_use]
    pub fn named(name: Option<&str>) -> Self {
        match name {
            None | Some("system") => Self::System,
            Some("user") => Self::User,
            Some(address) => Self::At(address.to_owned()),
        }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("systemd"),
            Self::User => f.write_str("systemd of this user"),
            Self::At(address) => write!(f, "systemd at {address}"),
        }
    }
}
