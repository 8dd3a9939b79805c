//! Which files are protected, and which of them together.

use crate::{
    id::Id,
    store::{FileKind, ObjectKey},
    wal::WalFile,
};

/// Longer files are not protected: parity is made in memory.
pub(super) const MOST_MEMBER_BYTES: u64 = 160 << 20;

/// Sizes that blocks may have.
pub(super) const BLOCK_SIZES: [u32; 3] = [1 << 10, 4 << 10, 64 << 10];

/// Where the classes of sizes end. A group's parity is as long as its longest member, so those of about one size
/// protect each other. Full packs are of the last class.
const SIZES: [u64; 4] = [4 << 10, 64 << 10, 1 << 20, 8 << 20];

/// Folders of protected files, all of them written once and never changed. Key files are not among them: a password
/// that was removed must not come back from parity.
pub(super) const FOLDERS: [&str; 5] = [
    "data",
    "index",
    "snapshots",
    "rekindle/holds",
    "rekindle/wal",
];

/// Files that are protected together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    /// WAL is removed in another order than packs.
    is_wal: bool,
    size: usize,
}

impl Class {
    /// Block length of a new group.
    pub fn block_bytes(self) -> u32 {
        BLOCK_SIZES[self.size.min(BLOCK_SIZES.len() - 1)]
    }
}

/// What a protected file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pack of this id.
    Pack(Id),
    /// Another file that is named by its hash.
    Named(Id),
    /// A file of the WAL archive; its name does not prove its content.
    Wal,
}

/// What lies under this key; `None` if it is not to be protected.
pub(super) fn kind(key: &str) -> Option<Kind> {
    let object = ObjectKey::parse(key)?;
    if let Some(file) = WalFile::of_key(&object) {
        return (!file.is_partial()).then_some(Kind::Wal);
    }
    let id: Id = object.name().parse().ok()?;
    if ObjectKey::of(FileKind::Pack, &id) == object {
        return Some(Kind::Pack(id));
    }
    let named = ["index", "snapshots", "rekindle/holds"];
    let is_named = named.iter().any(|folder| key == format!("{folder}/{id}"));
    is_named.then_some(Kind::Named(id))
}

/// Which files this one is protected with; `None` if it is not to be.
pub(super) fn class(key: &str, bytes: u64) -> Option<Class> {
    let kind = kind(key)?;
    (1..=MOST_MEMBER_BYTES).contains(&bytes).then(|| Class {
        is_wal: kind == Kind::Wal,
        size: SIZES.iter().filter(|end| bytes > **end).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_or_opens_the_vault_is_not_protected() {
        let id = Id::of(b"x").to_string();
        let wal = "rekindle/wal/1/00000001/000000010000000000000003";
        for key in [
            "config",
            "rekindle/keys/wal.age",
            "rekindle/notes/kit",
            &format!("keys/{id}"),
            &format!("locks/{id}"),
            &format!("data/{id}"),
            &format!("data/zz/{id}"),
            &format!("index/deep/{id}"),
            &format!("rekindle/parity/{id}-0"),
            &format!("{wal}.partial.zst.age"),
        ] {
            assert_eq!(kind(key), None, "{key}");
        }
        assert_eq!(kind(&format!("{wal}.zst.age")), Some(Kind::Wal));
        assert!(matches!(
            kind(&format!("data/{}/{id}", &id[..2])),
            Some(Kind::Pack(_))
        ));
        assert!(matches!(
            kind(&format!("snapshots/{id}")),
            Some(Kind::Named(_))
        ));
    }

    #[test]
    fn full_packs_are_of_one_class() {
        let id = Id::of(b"x").to_string();
        let key = format!("data/{}/{id}", &id[..2]);
        let sizes = [12 << 20, 16 << 20, (16 << 20) + 5000, 128 << 20];
        let classes = sizes.map(|bytes| class(&key, bytes).unwrap());
        assert!(classes.iter().all(|class| *class == classes[0]));
        assert_eq!(classes[0].block_bytes(), 64 << 10);
        assert_ne!(class(&key, 1 << 20), class(&key, 16 << 20));
        assert_eq!(class(&key, 300).unwrap().block_bytes(), 1 << 10);
        assert_eq!((class(&key, 0), class(&key, 1 << 30)), (None, None));
    }
}
