//! A vault password that can be typed from paper.

use crate::errors::CliError;

/// Crockford's alphabet: 32 letters and digits of which no two look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const GROUPS: usize = 6;
const GROUP_LENGTH: usize = 5;

/// Six groups of five characters, 150 random bits, as in `7k2mq-…`.
///
/// # Errors
/// If the system has no randomness to give.
pub fn random() -> Result<String, CliError> {
    let mut bytes = [0_u8; GROUPS * GROUP_LENGTH];
    getrandom::fill(&mut bytes).map_err(CliError::Random)?;
    // 256 is a multiple of 32, so every character is as likely as every other.
    let letters = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let groups: Vec<String> = letters
        .chunks(GROUP_LENGTH)
        .map(String::from_iter)
        .collect();
    Ok(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_typable_and_never_the_same() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!(one.len(), 35);
        let is_typable = |c: char| c == '-' || ALPHABET.contains(&(c as u8));
        assert!(one.chars().all(is_typable), "{one}");
        assert_ne!(one, other);
    }
}
