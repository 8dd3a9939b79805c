//! Key files: one password's way to the master key.
//!
//! A key file is plain JSON whose `data` is the master key, sealed by a key that scrypt derives
//! from the password and `salt`. Source: restic's design document, "Keys".

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    crypto::{Key, StoredMasterKey},
    error::VaultError,
    host::Host,
    id::Id,
    store::{FileKind, ObjectKey, Store},
};

/// A password. Never printed, wiped from memory when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What can be told of a key without its password.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// The key file.
    pub id: Id,
    /// Who made it.
    pub username: String,
    /// Where.
    pub hostname: String,
    /// When.
    pub created: Option<Timestamp>,
    /// Whether the vault was opened by it.
    pub current: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredKey {
    #[serde(default)]
    created: Option<Timestamp>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// scrypt's cost for new keys: 32 MiB and some 70 ms, which is what the field calls interactive.
/// A vault is opened for each archived WAL segment, so restic's half second would be felt.
const NEW_COST: Cost = Cost {
    n: 1 << 15,
    r: 8,
    p: 1,
};

/// Above this a key file asks for gibibytes or minutes, which only a hostile one does.
const MOST_MEMORY_BYTES: u64 = 1 << 31;
const MOST_P: u32 = 64;

#[derive(Clone, Copy)]
struct Cost {
    n: u64,
    r: u32,
    p: u32,
}

impl Cost {
    /// Whether it is followed.
    fn is_affordable(self) -> bool {
        let memory = self.n.checked_mul(128 * u64::from(self.r));
        self.n.is_power_of_two()
            && self.n > 1
            && memory.is_some_and(|bytes| bytes <= MOST_MEMORY_BYTES)
            && self.p <= MOST_P
    }

    fn derive(self, password: &Password, salt: &[u8]) -> Option<Key> {
        if !self.is_affordable() {
            return None;
        }
        let log_n = u8::try_from(self.n.trailing_zeros()).ok()?;
        let params = scrypt::Params::new(log_n, self.r, self.p).ok()?;
        let mut raw = Zeroizing::new([0; 64]);
        scrypt::scrypt(password.0.as_bytes(), salt, &params, raw.as_mut()).ok()?;
        Some(Key::from_bytes(raw))
    }
}

/// Adds a key file by which `password` opens the vault; returns its id.
pub(crate) fn add(
    store: &dyn Store,
    master: &Key,
    password: &Password,
    host: &Host,
) -> Result<Id, VaultError> {
    let (id, content) = new(master, password, host)?;
    store.create(&ObjectKey::of(FileKind::Key, &id), &content)?;
    Ok(id)
}

/// A key file by which `password` opens the vault, and the name that it has to have.
pub(crate) fn new(
    master: &Key,
    password: &Password,
    host: &Host,
) -> Result<(Id, Vec<u8>), VaultError> {
    let mut salt = [0; 64];
    getrandom::fill(&mut salt)?;
    let derived = NEW_COST
        .derive(password, &salt)
        .ok_or(VaultError::Compress("scrypt refused its own parameters"))?;
    let mut plain = Zeroizing::new(serde_json::to_vec(&master.to_stored())?);
    let sealed = derived.seal(&plain)?;
    plain.zeroize();
    let stored = StoredKey {
        created: Some(Timestamp::now()),
        username: host.username.clone(),
        hostname: host.name.clone(),
        kdf: "scrypt".to_owned(),
        n: NEW_COST.n,
        r: NEW_COST.r,
        p: NEW_COST.p,
        salt: BASE64.encode(salt),
        data: BASE64.encode(sealed),
    };
    let content = serde_json::to_vec(&stored)?;
    Ok((Id::of(&content), content))
}

type Keys = Vec<(Id, StoredKey)>;

/// All key files that can be read, and why others cannot.
pub(crate) fn load(store: &dyn Store) -> Result<(Keys, Vec<VaultError>), VaultError> {
    let mut keys = Vec::new();
    let mut damaged = Vec::new();
    for listed in store.list(FileKind::Key.folder())? {
        let Ok(id) = listed.key.name().parse::<Id>() else {
            continue;
        };
        let content = match store.read(&listed.key) {
            Ok(content) => content,
            Err(error) => {
                damaged.push(error.into());
                continue;
            }
        };
        match serde_json::from_slice(&content) {
            // A key whose bytes changed may be made to ask for anything; its name is its hash.
            Ok(_) if Id::of(&content) != id => {
                damaged.push(VaultError::damaged(
                    FileKind::Key,
                    &id,
                    "its hash is not its name",
                ));
            }
            Ok(key) => keys.push((id, key)),
            Err(error) => damaged.push(VaultError::damaged(FileKind::Key, &id, error)),
        }
    }
    Ok((keys, damaged))
}

/// The master key by the first key file that the password opens and whose key fits; by the first
/// that it opens, if none fits. Two creations at once leave keys of which only one fits.
pub(crate) fn open(
    store: &dyn Store,
    password: &Password,
    fits: impl Fn(&Key) -> bool,
) -> Result<(Id, Key), VaultError> {
    let (keys, mut damaged) = load(store)?;
    let mut opened = keys
        .iter()
        .filter_map(|(id, key)| Some((*id, key.open(password)?)));
    if let Some(first) = opened.next() {
        let found = if fits(&first.1) {
            None
        } else {
            opened.find(|(_, master)| fits(master))
        };
        return Ok(found.unwrap_or(first));
    }
    // A damaged one may be the one that the password is for.
    if let Some(error) = damaged.pop() {
        return Err(error);
    }
    let location = store.location();
    if keys.is_empty() {
        return Err(VaultError::Damaged {
            kind: FileKind::Key,
            name: format!("of {location}"),
            reason: "there is none, so no password opens the vault".to_owned(),
        });
    }
    Err(VaultError::WrongPassword {
        location,
        keys: keys.len(),
    })
}

impl StoredKey {
    fn open(&self, password: &Password) -> Option<Key> {
        if self.kdf != "scrypt" {
            return None;
        }
        let salt = BASE64.decode(&self.salt).ok()?;
        let derived = Cost {
            n: self.n,
            r: self.r,
            p: self.p,
        }
        .derive(password, &salt)?;
        let mut sealed = Zeroizing::new(BASE64.decode(&self.data).ok()?);
        let plain = derived.open_in_place(&mut sealed).ok()?;
        let stored: StoredMasterKey = serde_json::from_slice(plain).ok()?;
        Key::from_stored(&stored)
    }

    /// Whether the work that it asks for is followed, for fuzzers.
    pub(crate) fn is_affordable(&self) -> bool {
        let Self { n, r, p, .. } = *self;
        Cost { n, r, p }.is_affordable()
    }

    pub(crate) fn info(&self, id: Id, current: bool) -> KeyInfo {
        KeyInfo {
            id,
            username: self.username.clone(),
            hostname: self.hostname.clone(),
            created: self.created,
            current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_password_opens_its_own_key_and_no_other_does() {
        let store = MemoryStore::new();
        let master = Key::random().unwrap();
        let host = Host::current();
        let id = add(&store, &master, &Password::new("right"), &host).unwrap();
        let try_one = |text: &str| open(&store, &Password::new(text), |_| true);
        assert_eq!(try_one("right").unwrap().0, id);
        let error = try_one("wrong").unwrap_err();
        assert!(
            matches!(error, VaultError::WrongPassword { keys: 1, .. }),
            "{error}"
        );
    }

    #[test]
    fn of_two_keys_of_one_password_the_one_that_fits_is_taken() {
        let store = MemoryStore::new();
        let (host, password) = (Host::current(), Password::new("same"));
        let ids: Vec<_> = (0..3)
            .map(|_| add(&store, &Key::random().unwrap(), &password, &host).unwrap())
            .collect();
        for id in ids {
            let master = |id: Id| {
                let (keys, _) = load(&store).unwrap();
                let (_, key) = keys.into_iter().find(|(other, _)| *other == id).unwrap();
                key.open(&password).unwrap()
            };
            let sealed = master(id).seal(b"config").unwrap();
            let fits = |key: &Key| key.open_in_place(&mut sealed.clone()).is_ok();
            assert_eq!(open(&store, &password, fits).unwrap().0, id);
        }
        assert!(open(&store, &password, |_| false).is_ok());
    }

    #[test]
    fn a_key_file_that_asks_for_absurd_work_is_not_followed() {
        let cost = Cost {
            n: 1 << 40,
            r: 8,
            p: 1,
        };
        assert!(cost.derive(&Password::new("x"), b"salt").is_none());
        let cost = Cost {
            n: 1 << 15,
            r: 8,
            p: 1 << 20,
        };
        assert!(cost.derive(&Password::new("x"), b"salt").is_none());
    }

    #[test]
    fn a_password_never_prints() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "***");
    }
}
