//! Bech32, the text form of age's keys. Source: BIP 173.

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_SYMBOLS: usize = 6;

/// 32 bytes behind a prefix and with a checksum, in lower case.
pub(super) fn encode(prefix: &str, bytes: &[u8; 32]) -> String {
    let mut symbols = regroup::<8, 5>(bytes);
    let checksum = polymod(prefix, &[&symbols[..], &[0; CHECKSUM_SYMBOLS]].concat()) ^ 1;
    symbols.extend((0..CHECKSUM_SYMBOLS).map(|at| (checksum >> (5 * (5 - at)) & 31) as u8));
    let text = symbols
        .iter()
        .map(|&s| char::from(ALPHABET[usize::from(s)]));
    let start = prefix.chars().chain(['1']);
    start.chain(text).collect()
}

/// The 32 bytes of a text in lower case; `None` if anything about it is wrong.
pub(super) fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let rest = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let symbol = |byte| ALPHABET.iter().position(|&known| known == byte);
    let symbols: Vec<u8> = rest
        .bytes()
        .map(|byte| Some(symbol(byte)? as u8))
        .collect::<Option<_>>()?;
    let length = symbols.len().checked_sub(CHECKSUM_SYMBOLS)?;
    if polymod(prefix, &symbols) != 1 {
        return None;
    }
    let bytes: [u8; 32] = regroup::<5, 8>(&symbols[..length])
        .get(..32)?
        .try_into()
        .ok()?;
    // The bits that fill up the last symbol are zero, and there is nothing more.
    (regroup::<8, 5>(&bytes) == symbols[..length]).then_some(bytes)
}

/// Groups of `FROM` bits as groups of `TO` bits, the last one filled up with zeros.
fn regroup<const FROM: u32, const TO: u32>(groups: &[u8]) -> Vec<u8> {
    let (mut bits, mut held) = (0_u32, 0);
    let mut out = Vec::with_capacity(groups.len() * FROM as usize / TO as usize + 1);
    for &group in groups {
        bits = bits << FROM | u32::from(group);
        held += FROM;
        while held >= TO {
            held -= TO;
            out.push((bits >> held & ((1 << TO) - 1)) as u8);
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.push((bits << (TO - held) & ((1 << TO) - 1)) as u8);
    }
    out
}

fn polymod(prefix: &str, symbols: &[u8]) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3b6a_57b2,
        0x2650_8e6d,
        0x1ea1_19fa,
        0x3d42_33dd,
        0x2a14_62b3,
    ];
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let values = high.chain([0]).chain(low).chain(symbols.iter().copied());
    values.fold(1, |checksum, value| {
        let top = checksum >> 25;
        let shifted = (checksum & 0x01ff_ffff) << 5 ^ u32::from(value);
        (0..5)
            .filter(|bit| top >> bit & 1 == 1)
            .fold(shifted, |checksum, bit| checksum ^ GENERATOR[bit])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_the_same_bytes() {
        for seed in 0..50_u8 {
            let bytes: [u8; 32] = std::array::from_fn(|at| seed.wrapping_mul(at as u8 ^ 0x5b));
            let text = encode("age", &bytes);
            assert_eq!(text.len(), 62, "{text}");
            assert_eq!(decode("age", &text), Some(bytes));
            assert_eq!(decode("age-secret-key-", &text), None);
        }
    }

    #[test]
    fn any_changed_or_missing_character_is_noticed() {
        let text = encode("age", &[0x5a; 32]);
        for at in 0..text.len() {
            for other in ALPHABET
                .iter()
                .filter(|&&other| other != text.as_bytes()[at])
            {
                let mut changed = text.clone().into_bytes();
                changed[at] = *other;
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(decode("age", &changed), None, "{changed}");
            }
            assert_eq!(decode("age", &text[..at]), None);
        }
        assert_eq!(decode("age", &format!("{text}q")), None);
        assert_eq!(decode("age", &text.to_uppercase()), None);
    }
}
