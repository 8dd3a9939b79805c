//! Holds: what must not be forgotten, whatever a retention says.
//!
//! A hold is a small sealed object, `rekindle/holds/<id>`, made without any lock, so that it stands at
//! once, also while a backup runs. Points that it is about get the tag `hold:NAME` as well, so that
//! stock restic can honour it by `forget --keep-tag`; a tag alone, set by stock restic, is a hold
//! of that point too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::VaultError,
    id::Id,
    snapshot::Snapshot,
    store::{ObjectKey, StoreErrorKind},
    vault::Vault,
};

const FOLDER: &str = "rekindle/holds";
const FORMAT: u32 = 1;
const MOST_NAME_BYTES: usize = 64;
/// What the tag of a held point begins with; its hold's name follows.
pub const HOLD_TAG: &str = "hold:";

/// What a hold is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldScope {
    /// Every point, and everything else in the vault that something could remove.
    All,
    /// One point, by its [lasting id](Snapshot::lasting_id).
    Point(Id),
    /// The points that hold something below this path, as in `/db`.
    Below(String),
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// What it is called: letters, digits, `-`, `_`, `.`; 64 at most.
    pub name: String,
    /// What it is about.
    pub scope: HoldScope,
    /// Why, in words.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was made.
    pub since: Timestamp,
    /// When it is over; `None` for a hold that somebody has to remove.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Who made it: `user@machine`.
    #[serde(default)]
    pub by: String,
}

#[derive(Serialize, Deserialize)]
struct StoredHold {
    format: u32,
    #[serde(flatten)]
    hold: Hold,
}

impl Hold {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it is about this point.
    #[must_use]
    pub fn covers(&self, snapshot: &Snapshot) -> bool {
        match &self.scope {
            HoldScope::All => true,
            HoldScope::Point(id) => *id == snapshot.id || *id == snapshot.lasting_id(),
            HoldScope::Below(path) => {
                let is_below = |other: &String| {
                    other
                        .strip_prefix(path.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                snapshot.stored.paths.iter().any(is_below)
            }
        }
    }

    /// The tag of the points that it is about.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{HOLD_TAG}{}", self.name)
    }
}

/// All holds of a vault.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// Those that can be read, oldest first, also those whose time is over.
    pub all: Vec<Hold>,
    /// Why others cannot. Nobody knows what these are about: whoever deletes must not.
    pub unreadable: Vec<String>,
}

impl Holds {
    /// The names of the holds that keep this point now, by object or by tag.
    #[must_use]
    pub fn on(&self, snapshot: &Snapshot, now: Timestamp) -> Vec<String> {
        let by_object = self
            .all
            .iter()
            .filter(|hold| !hold.is_over(now) && hold.covers(snapshot));
        let mut names: Vec<String> = by_object.map(|hold| hold.name.clone()).collect();
        for name in tagged(snapshot) {
            let mut same = self.all.iter().filter(|hold| hold.name == name).peekable();
            // The tag outlives the hold's time; without an object it counts for itself.
            let counts = same.peek().is_none() || same.any(|hold| !hold.is_over(now));
            if counts {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// The names of the holds that keep the whole vault now.
    #[must_use]
    pub fn on_all(&self, now: Timestamp) -> Vec<String> {
        let whole = self
            .all
            .iter()
            .filter(|hold| hold.scope == HoldScope::All && !hold.is_over(now));
        whole.map(|hold| hold.name.clone()).collect()
    }
}

/// A hold, or why it cannot be read.
type Opened = Result<Hold, String>;

fn tagged(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let tags = snapshot.stored.tags.iter();
    tags.filter_map(|tag| tag.strip_prefix(HOLD_TAG))
}

impl Vault {
    /// All holds, those included that cannot be read.
    ///
    /// # Errors
    /// As the store failed.
    pub fn holds(&self) -> Result<Holds, VaultError> {
        let mut holds = Holds::default();
        for (key, read) in self.stored_holds()? {
            match read {
                Ok(hold) => holds.all.push(hold),
                Err(reason) => holds.unreadable.push(format!("hold `{key}`: {reason}")),
            }
        }
        holds
            .all
            .sort_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)));
        Ok(holds)
    }

    /// Makes a hold. It stands when this returns, without a lock; points are not tagged by it.
    ///
    /// # Errors
    /// [`VaultError::BadHoldName`], [`VaultError::HoldExists`], or as the store failed.
    pub fn add_hold(&self, hold: &Hold) -> Result<(), VaultError> {
        if !is_name(&hold.name) {
            return Err(VaultError::BadHoldName {
                name: hold.name.clone(),
            });
        }
        if self
            .holds()?
            .all
            .iter()
            .any(|other| other.name == hold.name)
        {
            return Err(VaultError::HoldExists {
                name: hold.name.clone(),
            });
        }
        let stored = StoredHold {
            format: FORMAT,
            hold: hold.clone(),
        };
        let sealed = self.key.seal(&serde_json::to_vec(&stored)?)?;
        Ok(self.store.create(&object(&Id::of(&sealed)), &sealed)?)
    }

    /// Ends all holds of this name; returns them. Tags of points stay.
    ///
    /// # Errors
    /// [`VaultError::NoHold`] if there is none; as the store failed.
    pub fn remove_hold(&self, name: &str) -> Result<Vec<Hold>, VaultError> {
        let mut removed = Vec::new();
        for (key, read) in self.stored_holds()? {
            if let Ok(hold) = read
                && hold.name == name
            {
                match self.store.delete(&key) {
                    Err(error) if error.kind != StoreErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => removed.push(hold),
                }
            }
        }
        if removed.is_empty() {
            return Err(VaultError::NoHold {
                name: name.to_owned(),
            });
        }
        Ok(removed)
    }

    fn stored_holds(&self) -> Result<Vec<(ObjectKey, Opened)>, VaultError> {
        let mut found = Vec::new();
        for listed in self.store.list(FOLDER)? {
            let Ok(id) = listed.key.name().parse::<Id>() else {
                continue;
            };
            match self.store.read(&listed.key) {
                Ok(sealed) => found.push((listed.key, self.opened_hold(&id, sealed))),
                // Removed since the listing.
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    fn opened_hold(&self, id: &Id, mut sealed: Vec<u8>) -> Opened {
        if Id::of(&sealed) != *id {
            return Err("its hash is not its name".to_owned());
        }
        let plain = self
            .key
            .open_in_place(&mut sealed)
            .map_err(|error| error.to_string())?;
        let stored: StoredHold =
            serde_json::from_slice(plain).map_err(|error| error.to_string())?;
        if stored.format != FORMAT {
            return Err(format!("its format is {}", stored.format));
        }
        Ok(stored.hold)
    }
}

fn object(id: &Id) -> ObjectKey {
    ObjectKey::below(FOLDER, &id.to_string())
}

/// Plain words only: the name becomes a tag, and restic divides tags at commas.
fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= MOST_NAME_BYTES && name.chars().all(fine)
}
