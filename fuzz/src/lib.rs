//! Fuzzers: one for each parser of stored bytes, of the vault's as they are listed in
//! `rekindle_vault::fuzzing`, of PostgreSQL's in [`postgres`].
//!
//! A parser may refuse, and must not panic, overflow, take memory without bound, or read what it does not write the same.

pub mod postgres;

/// The vault's parser of this name.
///
/// # Panics
/// If there is none.
pub fn parser(name: &str) -> fn(&[u8]) {
    let mut all = rekindle_vault::fuzzing::TARGETS.iter();
    let found = all.find(|(known, _)| *known == name);
    found.map(|(_, parse)| *parse).expect("a parser of this name")
}

/// The fuzzer of one of the vault's parsers.
#[macro_export]
macro_rules! vault_target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            static PARSER: std::sync::LazyLock<fn(&[u8])> =
                std::sync::LazyLock::new(|| $crate::parser($name));
            PARSER(bytes)
        });
    };
}
