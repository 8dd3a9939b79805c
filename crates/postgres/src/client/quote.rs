//! Texts and names within SQL.

/// Quotes text as an SQL string constant. Safe with `standard_conforming_strings` on or off.
pub fn quote_literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

/// Quotes text as an SQL identifier.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_escaped_from() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("\\'; drop"), "E'\\\\''; drop'");
        assert_eq!(quote_identifier("we\"ird na'me"), "\"we\"\"ird na'me\"");
    }
}
