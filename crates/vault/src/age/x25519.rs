//! The file key sealed to a recipient: a new key agrees with the recipient's on a secret.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{
    AgeError, FileKey, Identity, Recipient,
    crypto::{FILE_KEY_BYTES, KEY_BYTES, TAG_BYTES, derive},
    header::{Stanza, decoded, encoded},
};

const KIND: &str = "X25519";
const INFO: &[u8] = b"age-encryption.org/v1/X25519";

pub(super) fn is_one(stanza: &Stanza) -> bool {
    stanza.words.first().is_some_and(|word| word == KIND)
}

pub(super) fn wrap(file_key: &FileKey, recipient: &Recipient) -> Result<Stanza, AgeError> {
    let ephemeral = Identity::random()?;
    let share = ephemeral.recipient();
    let key = wrapping_key(&ephemeral.secret, &recipient.0, &share, recipient)
        .ok_or(AgeError::Refused)?;
    Ok(Stanza {
        words: vec![KIND.to_owned(), encoded(share.0.as_bytes())],
        body: file_key.wrap(&key)?,
    })
}

/// The file key; `None` if it is sealed to another identity.
pub(super) fn unwrap(stanza: &Stanza, identity: &Identity) -> Result<Option<FileKey>, AgeError> {
    let [_, share] = &stanza.words[..] else {
        return Err(AgeError::Malformed("an X25519 stanza has one argument"));
    };
    if stanza.body.len() != FILE_KEY_BYTES + TAG_BYTES {
        return Err(AgeError::Malformed(
            "the body of an X25519 stanza is 32 bytes",
        ));
    }
    let share = Recipient(PublicKey::from(decoded::<KEY_BYTES>(share)?));
    let key = wrapping_key(&identity.secret, &share.0, &share, &identity.recipient()).ok_or(
        AgeError::Malformed("the share of an X25519 stanza is no point of use"),
    )?;
    FileKey::unwrap(&stanza.body, &key)
}

/// `None` if the other side chose a point with which everybody agrees on the same secret.
fn wrapping_key(
    ours: &StaticSecret,
    theirs: &PublicKey,
    share: &Recipient,
    recipient: &Recipient,
) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let secret = ours.diffie_hellman(theirs);
    let salt = [*share.0.as_bytes(), *recipient.0.as_bytes()].concat();
    secret
        .was_contributory()
        .then(|| derive(secret.as_bytes(), &salt, INFO))
}
