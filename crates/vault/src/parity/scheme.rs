//! How much parity there is.

use std::num::NonZeroU8;

use serde::Serialize;

use super::code::{MOST_SHARDS, MOST_SLOTS};

/// How many files form a group, and how many parity objects protect it: as many files of it may be lost whole, or as
/// many blocks at each place damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ParityScheme {
    data: u8,
    parity: NonZeroU8,
}

/// A scheme that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "parity of {parity} for {data} files: there are 1 to 128 files to a group, and 1 to 64 parity objects"
)]
pub struct BadParityScheme {
    data: u8,
    parity: u8,
}

impl ParityScheme {
    /// Files in a group made from a share.
    const DATA: u8 = 20;
    /// The smallest share, in percent.
    pub const LEAST_PERCENT: u8 = 5;
    /// The largest share, in percent. Whoever wants more wants a copy.
    pub const MOST_PERCENT: u8 = 50;

    /// Groups of `data` files and `parity` parity objects.
    ///
    /// # Errors
    /// [`BadParityScheme`] beyond 1 to 128 files and 1 to 64 parity objects.
    pub fn new(data: u8, parity: u8) -> Result<Self, BadParityScheme> {
        let bad = BadParityScheme { data, parity };
        let is_fine = (1..=MOST_SLOTS).contains(&data) && parity <= MOST_SHARDS;
        match NonZeroU8::new(parity) {
            Some(parity) if is_fine => Ok(Self { data, parity }),
            _ => Err(bad),
        }
    }

    /// About so many percent of what is protected: groups of 20 files. A share beyond
    /// [`ParityScheme::LEAST_PERCENT`] and [`ParityScheme::MOST_PERCENT`] becomes the nearest one within.
    #[must_use]
    pub fn of_percent(percent: u8) -> Self {
        let percent = percent.clamp(Self::LEAST_PERCENT, Self::MOST_PERCENT);
        let parity = (u16::from(Self::DATA) * u16::from(percent)).div_ceil(100);
        let parity = u8::try_from(parity).ok().and_then(NonZeroU8::new);
        Self {
            data: Self::DATA,
            parity: parity.unwrap_or(NonZeroU8::MIN),
        }
    }

    /// Files of a full group.
    #[must_use]
    pub const fn data(self) -> u8 {
        self.data
    }

    /// Parity objects of each group.
    #[must_use]
    pub const fn parity(self) -> u8 {
        self.parity.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_becomes_at_least_as_much_parity() {
        for (percent, parity) in [
            (5, 1),
            (6, 2),
            (10, 2),
            (20, 4),
            (50, 10),
            (0, 1),
            (255, 10),
        ] {
            let scheme = ParityScheme::of_percent(percent);
            assert_eq!(
                (scheme.data(), scheme.parity()),
                (20, parity),
                "{percent} %"
            );
        }
        assert!(ParityScheme::new(128, 64).is_ok());
        for (data, parity) in [(0, 1), (1, 0), (129, 1), (20, 65)] {
            assert!(ParityScheme::new(data, parity).is_err(), "{data} {parity}");
        }
    }
}
