//! Enumerations whose variants are words of the configuration.

/// One of a few words. Made by [`choice!`].
pub(crate) trait Choice: Copy + 'static {
    /// Every variant.
    const ALL: &'static [Self];
    /// What the words are, for "`x` is no …".
    const WHAT: &'static str;

    /// The variant as it is written.
    fn word(self) -> &'static str;
}

/// Declares an enumeration together with its words, so that the reader, `Display` and the schema
/// cannot disagree about them.
macro_rules! choice {
    (
        $(#[$meta:meta])* $what:literal $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$variant_meta])* #[schemars(rename = $word)] $variant,)+
        }

        impl crate::choice::Choice for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            const WHAT: &'static str = $what;

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(crate::choice::Choice::word(*self))
            }
        }
    };
}
pub(crate) use choice;
