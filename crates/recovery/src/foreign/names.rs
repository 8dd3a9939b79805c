//! Names of databases that a restore makes.

use jiff::{Timestamp, tz::TimeZone};

/// The server cuts longer names, which would make two of them one.
const MAX_NAME_BYTES: usize = 63;

/// What a name says of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It was restored beside the live one.
    Restored,
    /// It was live before a swap.
    Before,
    /// It was live, and an undo set it aside.
    Undone,
}

impl Role {
    const fn infix(self) -> &'static str {
        match self {
            Self::Restored => "_rekindle_",
            Self::Before => "_before_",
            Self::Undone => "_undone_",
        }
    }
}

/// `shop_before_20261121_091530`, in UTC. Long names are cut, but never the time.
pub(super) fn stamped(database: &str, role: Role, now: Timestamp) -> String {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%d_%H%M%S");
    let suffix = format!("{}{time}", role.infix());
    format!("{}{suffix}", cut(database, MAX_NAME_BYTES - suffix.len()))
}

/// Whether `name` is one that [`stamped`] made of `database`.
pub(super) fn is_stamped(name: &str, database: &str, role: Role) -> bool {
    let Some((prefix, time)) = name.rsplit_once(role.infix()) else {
        return false;
    };
    let is_time = time.len() == 15
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'_',
            _ => byte.is_ascii_digit(),
        });
    is_time && prefix == cut(database, MAX_NAME_BYTES - role.infix().len() - 15)
}

fn cut(name: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(name.len()))
        .rev()
        .find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamped_names_are_known_again_and_fit() {
        let now: Timestamp = "2026-11-21T09:15:30Z".parse().unwrap();
        assert_eq!(
            stamped("shop", Role::Before, now),
            "shop_before_20261121_091530"
        );
        for database in ["shop", "ü".repeat(31).as_str(), "x_before_y", ""] {
            for role in [Role::Restored, Role::Before, Role::Undone] {
                let name = stamped(database, role, now);
                assert!(name.len() <= MAX_NAME_BYTES);
                assert!(is_stamped(&name, database, role), "{name}");
            }
        }
        assert!(!is_stamped("shop_before_the_war", "shop", Role::Before));
        assert!(!is_stamped(
            "shops_before_20261121_091530",
            "shop",
            Role::Before
        ));
    }
}
