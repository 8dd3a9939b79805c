//! The age format of our own: what was sealed opens to the same bytes, and nothing else opens.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::slice;

use proptest::prelude::*;
use rekindle_testing::data::Random;
use rekindle_vault::age::{self, AgeError, Identity, PASSPHRASE_LOG_N};

const PIECE: usize = 64 << 10;
const SEALED_PIECE: usize = PIECE + 16;

fn sealed(identity: &Identity, plain: &[u8]) -> Vec<u8> {
    age::seal(&[identity.recipient()], plain.to_vec()).unwrap()
}

fn open(identity: &Identity, sealed: Vec<u8>) -> Result<Vec<u8>, AgeError> {
    age::open(slice::from_ref(identity), sealed)
}

/// Where the payload begins: behind the last line of the header and 16 bytes of nonce.
fn first_piece(sealed: &[u8]) -> usize {
    let code = sealed
        .windows(4)
        .position(|window| window == b"\n---")
        .unwrap()
        + 1;
    code + "--- ".len() + 43 + "\n".len() + 16
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn content_of_any_length_comes_back(
        seed in any::<u64>(),
        length in 0..(PIECE * 7 / 2),
        room in 0..1000_usize,
    ) {
        let identity = Identity::random().unwrap();
        let plain = Random::new(seed).bytes(length);
        let mut content = Vec::with_capacity(length + room);
        content.extend_from_slice(&plain);
        let sealed = age::seal(&[identity.recipient()], content).unwrap();
        prop_assert!(open(&identity, sealed).unwrap() == plain);
    }

    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let identity = Identity::random().unwrap();
        let mut after_a_version = b"age-encryption.org/v1\n-> ".to_vec();
        after_a_version.extend_from_slice(&bytes);
        for bytes in [bytes, after_a_version] {
            prop_assert!(open(&identity, bytes.clone()).is_err());
            prop_assert!(age::open_with_passphrase("x", bytes).is_err());
        }
    }
}

#[test]
fn lengths_around_the_pieces_come_back() {
    let identity = Identity::random().unwrap();
    for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1] {
        let plain = Random::new(length as u64).bytes(length);
        let sealed = sealed(&identity, &plain);
        let pieces = length.div_ceil(PIECE).max(1);
        assert_eq!(sealed.len(), age::sealed_bytes(1, length));
        assert_eq!(sealed.len(), first_piece(&sealed) + length + 16 * pieces);
        assert!(open(&identity, sealed).unwrap() == plain, "{length}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let identity = Identity::random().unwrap();
    for plain in [&b""[..], b"the only copy"] {
        let whole = sealed(&identity, plain);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&identity, flipped).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(
                open(&identity, whole[..length].to_vec()).is_err(),
                "{length}"
            );
        }
        for more in [&b"\0"[..], &[0; 16], &whole] {
            assert!(open(&identity, [&whole, more].concat()).is_err());
        }
        assert_eq!(open(&identity, whole).unwrap(), plain);
    }
}

#[test]
fn pieces_cannot_be_moved_left_out_repeated_or_added() {
    let identity = Identity::random().unwrap();
    let plain = Random::new(1).bytes(3 * PIECE + 100);
    let whole = sealed(&identity, &plain);
    let (head, payload) = whole.split_at(first_piece(&whole));
    let pieces: Vec<_> = payload.chunks(SEALED_PIECE).collect();
    let with = |order: &[usize]| {
        let pieces = order.iter().flat_map(|&piece| pieces[piece]);
        open(&identity, head.iter().chain(pieces).copied().collect())
    };
    assert!(
        with(&[0, 1, 2, 3]).unwrap() == plain,
        "or this tests nothing"
    );
    for order in [
        &[][..],
        &[0],
        &[0, 1, 2],
        &[1, 2, 3],
        &[0, 2, 3],
        &[3],
        &[1, 0, 2, 3],
        &[0, 2, 1, 3],
        &[0, 1, 1, 2, 3],
        &[0, 1, 2, 3, 3],
        &[0, 1, 2, 3, 0],
    ] {
        let error = with(order).unwrap_err();
        assert!(
            matches!(error, AgeError::PayloadChanged { .. }),
            "{order:?}: {error}"
        );
    }
}

#[test]
fn pieces_of_another_file_for_the_same_key_do_not_fit() {
    let identity = Identity::random().unwrap();
    let plain = Random::new(1).bytes(2 * PIECE);
    let [first, second] = [(); 2].map(|()| sealed(&identity, &plain));
    assert_ne!(first, second, "each file has a key of its own");
    let at = first_piece(&first) + SEALED_PIECE;
    let mixed = [&first[..at], &second[at..]].concat();
    assert!(open(&identity, mixed).is_err());
}

#[test]
fn another_key_opens_nothing() {
    let (ours, theirs) = (Identity::random().unwrap(), Identity::random().unwrap());
    let sealed = sealed(&ours, b"x");
    let error = open(&theirs, sealed.clone()).unwrap_err();
    assert!(matches!(error, AgeError::NoneFits), "{error}");
    assert!(age::open(&[], sealed.clone()).is_err());
    assert_eq!(age::open(&[theirs, ours], sealed).unwrap(), b"x");
    assert!(matches!(
        age::seal(&[], b"x".to_vec()),
        Err(AgeError::NoRecipient)
    ));
}

#[test]
fn a_password_opens_its_own_file_and_no_changed_one() {
    let whole = age::seal_with_passphrase("right", 15, b"secret").unwrap();
    assert_eq!(
        age::open_with_passphrase("right", whole.clone()).unwrap(),
        b"secret"
    );
    let error = age::open_with_passphrase("wrong", whole.clone()).unwrap_err();
    assert!(matches!(error, AgeError::WrongPassphrase), "{error}");
    let error = open(&Identity::random().unwrap(), whole.clone()).unwrap_err();
    assert!(matches!(error, AgeError::NoneFits), "{error}");
    // Each attempt costs a password check, so not all.
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(age::open_with_passphrase("right", flipped).is_err(), "{at}");
        assert!(age::open_with_passphrase("right", whole[..at].to_vec()).is_err());
    }
}

#[test]
fn a_cost_that_is_too_cheap_or_absurd_is_not_followed() {
    let whole = age::seal_with_passphrase("x", 15, b"").unwrap();
    let text = String::from_utf8_lossy(&whole[..100]).into_owned();
    let line = text.lines().nth(1).unwrap();
    for cost in [
        "10", "14", "21", "40", "255", "256", "015", "+15", "-1", "", "15 15",
    ] {
        let changed = [line.strip_suffix("15").unwrap(), cost].concat();
        let at = whole
            .windows(line.len())
            .position(|w| w == line.as_bytes())
            .unwrap();
        let changed = [&whole[..at], changed.as_bytes(), &whole[at + line.len()..]].concat();
        let error = age::open_with_passphrase("x", changed).unwrap_err();
        let is_refused = matches!(error, AgeError::WorkFactor { .. } | AgeError::Malformed(_));
        assert!(is_refused, "{cost}: {error}");
    }
    for cost in [PASSPHRASE_LOG_N.start() - 1, PASSPHRASE_LOG_N.end() + 1] {
        assert!(age::seal_with_passphrase("x", cost, b"").is_err());
    }
}

#[test]
fn a_way_in_that_is_not_known_is_passed_over() {
    // Hiding the first of two changes what the code of the header covers: it is noticed there, by
    // who got past it to the second.
    let (hidden, ours) = (Identity::random().unwrap(), Identity::random().unwrap());
    let whole = age::seal(&[hidden.recipient(), ours.recipient()], b"x".to_vec()).unwrap();
    let at = whole
        .windows(6)
        .position(|window| window == b"X25519")
        .unwrap();
    let mut changed = whole.clone();
    changed[at] = b'Y';
    let error = open(&ours, changed).unwrap_err();
    assert!(matches!(error, AgeError::HeaderChanged), "{error}");
    assert_eq!(open(&ours, whole).unwrap(), b"x");
}
