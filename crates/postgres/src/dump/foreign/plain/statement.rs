//! SQL statements, as far as it must be known what they are about.

use super::super::report::Creation;

/// Longer statements are known by their beginning; no dump's GRANT comes near it.
const MAX_TOKENS: usize = 4096;
/// Of a literal this much is kept.
const MAX_LITERAL: usize = 256;

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A key word or a name without quotes, in lower case.
    Word(String),
    /// A name in double quotes, without them.
    Name(String),
    /// The beginning of a literal, without quotes.
    Literal(String),
    Symbol(char),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Name(name) => Some(name),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Name(text) | Self::Literal(text) => Some(text),
            Self::Symbol(_) => None,
        }
    }
}

/// The tokens of one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens(Vec<Token>);

/// The statements of a text.
pub(crate) fn split(text: &str) -> Vec<Tokens> {
    let mut items = super::items::Items::new(text.as_bytes());
    let (mut raw, mut statements) = (Vec::new(), Vec::new());
    // What is not SQL any more is not looked at: it is for the server to refuse.
    while let Ok(Some(item)) = items.next(&mut raw) {
        if let super::items::Item::Statement(statement) = item {
            statements.push(statement.tokens);
        }
    }
    statements
}

impl Tokens {
    /// Those of the first statement of a text.
    pub(crate) fn of(text: &str) -> Self {
        split(text).into_iter().next().unwrap_or_default()
    }

    pub(super) fn push(&mut self, token: Token) {
        if self.0.len() < MAX_TOKENS {
            self.0.push(token);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clip(text: &[u8]) -> String {
        String::from_utf8_lossy(&text[..text.len().min(MAX_LITERAL)]).into_owned()
    }

    /// Whether it begins with these words.
    pub(crate) fn begins(&self, words: &[&str]) -> bool {
        words.len() <= self.0.len() && self.0.iter().zip(words).all(|(token, word)| token.is(word))
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.0.iter().any(|token| token.is(word))
    }

    fn after(&self, words: &[&str]) -> Option<&[Token]> {
        let at = self
            .0
            .windows(words.len())
            .position(|window| window.iter().zip(words).all(|(token, word)| token.is(word)))?;
        Some(&self.0[at + words.len()..])
    }

    /// The name after the words that it begins with, and after `IF [NOT] EXISTS`.
    pub(crate) fn name_after(&self, words: &[&str]) -> Option<String> {
        if !self.begins(words) {
            return None;
        }
        let mut rest = &self.0[words.len()..];
        while let [Token::Word(word), others @ ..] = rest
            && matches!(word.as_str(), "if" | "not" | "exists")
            && !others.is_empty()
        {
            rest = others;
        }
        rest.first()?.name().map(str::to_owned)
    }

    /// The value of `SET name = value`, for this name.
    pub(crate) fn value_of_set(&self, name: &str) -> Option<String> {
        if !self.begins(&["set", name]) && !self.begins(&["set", "session", name]) {
            return None;
        }
        self.0.last()?.text().map(str::to_owned)
    }

    /// The first schema of `SET search_path = a, b` or of `set_config('search_path', 'a', …)`.
    pub(super) fn search_path(&self) -> Option<String> {
        if self.begins(&["set", "search_path"]) {
            return self.0.get(3)?.text().map(str::to_owned);
        }
        let is_set = self.begins(&["select"]) && self.has("set_config");
        let at = self
            .0
            .iter()
            .position(|token| *token == Token::Literal("search_path".into()))?;
        let value = self.0.get(at + 2)?.text()?;
        is_set.then(|| {
            value
                .split(',')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
    }

    /// Schema and name of the table that `COPY … FROM stdin` fills.
    pub(crate) fn copy_target(&self) -> Option<(Option<String>, String)> {
        if !self.begins(&["copy"]) {
            return None;
        }
        let first = self.0.get(1)?.name()?.to_owned();
        match (self.0.get(2), self.0.get(3)) {
            (Some(Token::Symbol('.')), Some(second)) => {
                Some((Some(first), second.name()?.to_owned()))
            }
            _ => Some((None, first)),
        }
    }

    /// Schema and name of the table of an `INSERT`.
    pub(super) fn inserted_table(&self) -> Option<(Option<String>, String)> {
        if !self.begins(&["insert", "into"]) {
            return None;
        }
        let first = self.0.get(2)?.name()?.to_owned();
        match (self.0.get(3), self.0.get(4)) {
            (Some(Token::Symbol('.')), Some(second)) => {
                Some((Some(first), second.name()?.to_owned()))
            }
            _ => Some((None, first)),
        }
    }

    /// The table that `ALTER TABLE … ENABLE ROW LEVEL SECURITY` is about.
    pub(super) fn row_security_table(&self) -> Option<String> {
        self.after(&["enable", "row", "level", "security"])?;
        let name = self.0.get(2..)?.iter().map_while(|token| match token {
            Token::Word(word) if word == "enable" => None,
            Token::Word(word) if word == "only" => Some(""),
            Token::Symbol('.') => Some("."),
            other => other.name(),
        });
        Some(name.collect())
    }

    /// Its beginning, for people.
    pub(crate) fn words(&self) -> String {
        let words: Vec<String> = self
            .0
            .iter()
            .take(8)
            .map(|token| match token {
                Token::Word(word) => word.clone(),
                Token::Name(name) => format!("\"{name}\""),
                Token::Literal(text) => format!("'{}'", text.chars().take(40).collect::<String>()),
                Token::Symbol(symbol) => symbol.to_string(),
            })
            .collect();
        words.join(" ")
    }

    /// Whether data follow it, up to a line `\.`.
    pub(super) fn is_copy_from_stdin(&self) -> bool {
        self.begins(&["copy"]) && self.after(&["from", "stdin"]).is_some()
    }

    /// Roles that must exist for it: owners and who is given or denied rights.
    pub(crate) fn roles(&self) -> Vec<String> {
        let mut roles = Vec::new();
        let Some(Token::Word(verb)) = self.0.first() else {
            return roles;
        };
        match verb.as_str() {
            "alter" => {
                roles.extend(self.listed_after(&["owner", "to"]));
                if self.begins(&["alter", "default", "privileges"]) {
                    roles.extend(self.listed_after(&["for", "role"]));
                    roles.extend(self.grantees());
                }
            }
            "grant" | "revoke" => roles.extend(self.grantees()),
            "create" if self.begins(&["create", "schema"]) => {
                roles.extend(self.listed_after(&["authorization"]));
            }
            "create" if self.begins(&["create", "policy"]) => {
                roles.extend(self.listed_after(&["to"]));
            }
            "set" => roles.extend(self.listed_after(&["session", "authorization"])),
            _ => {}
        }
        const NO_ROLES: [&str; 5] = [
            "public",
            "current_user",
            "session_user",
            "current_role",
            "default",
        ];
        roles.retain(|role| !role.is_empty() && !NO_ROLES.contains(&role.as_str()));
        roles
    }

    fn grantees(&self) -> Vec<String> {
        let verb = if self.has("grant") { ["to"] } else { ["from"] };
        // The last one: a column or an object may have such a name only in quotes.
        let mut roles = self.listed_after(&verb);
        roles.extend(self.listed_after(&["granted", "by"]));
        roles
    }

    /// Names parted by commas after the last place of these words.
    fn listed_after(&self, words: &[&str]) -> Vec<String> {
        let Some(mut rest) = self.after(words) else {
            return Vec::new();
        };
        let mut names = Vec::new();
        while let [first, others @ ..] = rest {
            // `TO GROUP x` is an old way to write it.
            if first.is("group") {
                rest = others;
                continue;
            }
            let Some(name) = first.text() else { break };
            names.push(name.to_owned());
            match others {
                [Token::Symbol(','), others @ ..] => rest = others,
                _ => break,
            }
        }
        names
    }

    /// Name and settings of `CREATE DATABASE`.
    pub(crate) fn creation(&self) -> Option<(String, Creation)> {
        let name = self.name_after(&["create", "database"])?;
        let value = |option: &str| {
            let rest = self.after(&[option])?;
            let rest = match rest {
                [Token::Symbol('='), rest @ ..] => rest,
                rest => rest,
            };
            rest.first()?.text().map(str::to_owned)
        };
        let both = value("locale");
        let provider = value("locale_provider").map(|provider| match provider.as_str() {
            "icu" => "i".to_owned(),
            "builtin" => "b".to_owned(),
            _ => "c".to_owned(),
        });
        let own = value("icu_locale").or_else(|| value("builtin_locale"));
        let creation = Creation {
            encoding: value("encoding"),
            collate: value("lc_collate").or_else(|| both.clone()),
            ctype: value("lc_ctype").or_else(|| both.clone()),
            locale: own.or_else(|| both.filter(|_| provider.as_deref().is_some_and(|p| p != "c"))),
            locale_provider: provider,
        };
        Some((name, creation))
    }

    /// Whether it is about a database as a whole, which is made, named and owned by whoever
    /// restores.
    pub(crate) fn is_about_a_database(&self) -> bool {
        ["create", "alter", "drop"]
            .iter()
            .any(|verb| self.begins(&[verb, "database"]))
            || self.begins(&["comment", "on", "database"])
            || (self.begins(&["grant"]) || self.begins(&["revoke"]))
                && self.after(&["on", "database"]).is_some()
            || self.begins(&["security", "label"]) && self.after(&["on", "database"]).is_some()
            || self.begins(&["update"]) && self.has("pg_database")
    }

    /// Whether it reads or writes files of the server's machine or runs programs there.
    pub(crate) fn is_reaching_out(&self) -> bool {
        let copies_file = self.begins(&["copy"])
            && !self.is_copy_from_stdin()
            && self.after(&["to", "stdout"]).is_none();
        copies_file || self.begins(&["alter", "system"]) || self.begins(&["load"])
    }

    /// The parameter that a `SET` sets.
    pub(crate) fn parameter_of_set(&self) -> Option<&str> {
        if !self.begins(&["set"]) || self.begins(&["set", "session", "authorization"]) {
            return None;
        }
        self.0.get(1)?.name()
    }

    /// Whether it is about what all databases share.
    pub(crate) fn is_about_the_cluster(&self) -> bool {
        let shared = ["role", "user", "group", "tablespace"];
        ["create", "alter", "drop"]
            .iter()
            .any(|verb| shared.iter().any(|object| self.begins(&[verb, object])))
            || self.begins(&["alter", "system"])
            // Membership in a role has no ON.
            || self.begins(&["grant"]) && !self.has("on")
    }

    /// `BEGIN`, `COMMIT` and what else begins or ends a transaction.
    pub(crate) fn is_transaction_control(&self) -> bool {
        const VERBS: [&str; 7] = [
            "begin",
            "commit",
            "rollback",
            "end",
            "abort",
            "savepoint",
            "start",
        ];
        VERBS.iter().any(|verb| self.begins(&[verb])) || self.begins(&["prepare", "transaction"])
    }

    /// Whether it gives something to a role, or gives or takes rights.
    pub(crate) fn is_about_ownership(&self) -> bool {
        let gives_away = self.begins(&["alter"]) && self.after(&["owner", "to"]).is_some();
        gives_away
            || self.begins(&["grant"])
            || self.begins(&["revoke"])
            || self.begins(&["alter", "default", "privileges"])
            || self.begins(&["set", "session", "authorization"])
    }

    /// The extension that it creates or comments on.
    pub(crate) fn extension(&self) -> Option<String> {
        self.name_after(&["create", "extension"])
            .or_else(|| self.name_after(&["comment", "on", "extension"]))
    }

    /// Whether it removes something, as `pg_dump --clean` does before it creates it.
    pub(crate) fn is_removal(&self) -> bool {
        self.begins(&["drop"])
            || self.begins(&["alter", "table"]) && self.has("drop")
            || self.begins(&["select"]) && self.has("lo_unlink")
    }

    /// Whether it makes something or fills it.
    pub(crate) fn is_creation(&self) -> bool {
        ["create", "copy", "insert"]
            .iter()
            .any(|verb| self.begins(&[verb]))
    }

    /// Whether it puts something into a tablespace that is named.
    pub(crate) fn is_about_tablespaces(&self) -> bool {
        self.value_of_set("default_tablespace")
            .is_some_and(|space| !space.is_empty())
            || self.begins(&["alter"]) && self.after(&["set", "tablespace"]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(sql: &str) -> Vec<String> {
        Tokens::of(sql).roles()
    }

    #[test]
    fn roles_are_found_wherever_a_dump_names_them() {
        assert_eq!(
            roles("ALTER TABLE public.t OWNER TO \"app owner\";"),
            ["app owner"]
        );
        assert_eq!(
            roles("GRANT SELECT,INSERT ON TABLE public.t TO bob, \"A\";"),
            ["bob", "A"]
        );
        assert_eq!(roles("GRANT ALL ON SCHEMA public TO PUBLIC;"), [""; 0]);
        assert_eq!(
            roles("REVOKE ALL ON FUNCTION f(a integer) FROM carol;"),
            ["carol"]
        );
        let default =
            "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b;";
        assert_eq!(roles(default), ["a", "b"]);
        assert_eq!(roles("CREATE POLICY p ON t TO c USING ((x = 1));"), ["c"]);
        assert_eq!(roles("SET SESSION AUTHORIZATION 'dave';"), ["dave"]);
    }

    #[test]
    fn a_creation_is_read_as_each_version_writes_it() {
        let of = |sql: &str| Tokens::of(sql).creation().unwrap();
        let (name, old) = of(
            "CREATE DATABASE \"my db\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LC_COLLATE = 'C' LC_CTYPE = 'de_DE.utf8';",
        );
        assert_eq!(name, "my db");
        assert_eq!(
            (old.collate.as_deref(), old.ctype.as_deref()),
            (Some("C"), Some("de_DE.utf8"))
        );
        let (_, icu) = of(
            "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'C.UTF-8' ICU_LOCALE = 'en-US';",
        );
        assert_eq!(icu.locale_provider.as_deref(), Some("i"));
        assert_eq!(
            (icu.locale.as_deref(), icu.collate.as_deref()),
            (Some("en-US"), Some("C.UTF-8"))
        );
    }

    #[test]
    fn what_reaches_beyond_a_database_is_known() {
        let t = Tokens::of;
        assert!(t("COPY t FROM PROGRAM 'id';").is_reaching_out());
        assert!(t("copy (select 1) to '/tmp/x';").is_reaching_out());
        assert!(!t("COPY public.t (a, b) FROM stdin;").is_reaching_out());
        assert!(t("ALTER SYSTEM SET a = b;").is_reaching_out());
        assert!(t("GRANT CONNECT ON DATABASE shop TO bob;").is_about_a_database());
        assert!(t("GRANT a TO b;").is_about_the_cluster());
        assert!(!t("GRANT SELECT ON t TO b;").is_about_the_cluster());
        assert!(t("COMMIT;").is_transaction_control());
        assert_eq!(
            t("SET transaction_timeout = 0;").parameter_of_set(),
            Some("transaction_timeout")
        );
    }
}
