//! What of a dump's SQL text reaches psql.

use std::collections::BTreeSet;

use super::LeaveOut;
use crate::dump::foreign::plain::items::Item;
use crate::dump::foreign::plain::marks::Mark;
use crate::dump::foreign::plain::statement::Tokens;

/// Passes on the statements of one database, without those that are about other things than what
/// is in it: a database that is restored beside another must not touch that one.
pub(super) struct Filter<'a> {
    leave_out: &'a LeaveOut,
    /// Parameters that the server knows.
    parameters: &'a BTreeSet<String>,
    /// How many dumps of databases begin before ours.
    to_skip: usize,
    state: State,
    has_created: bool,
    is_copy_left_out: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    Within,
    After,
}

impl<'a> Filter<'a> {
    /// For the database number `section` of the text, from 0.
    pub(super) fn new(
        section: usize,
        leave_out: &'a LeaveOut,
        parameters: &'a BTreeSet<String>,
    ) -> Self {
        Self {
            leave_out,
            parameters,
            to_skip: section,
            state: State::Before,
            has_created: false,
            is_copy_left_out: false,
        }
    }

    /// Whether the closing line of our database was met.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::After
    }

    /// Whether an item is passed on.
    pub(super) fn passes(&mut self, item: &Item) -> bool {
        match item {
            Item::Comment(text) => {
                self.mark(text);
                false
            }
            // psql is restricted from its first line on, by a key of ours.
            Item::Meta(_) => false,
            Item::Blank => self.state == State::Within,
            Item::CopyData { .. } | Item::CopyEnd => {
                self.state == State::Within && !self.is_copy_left_out
            }
            Item::Statement(statement) => {
                let passes = self.state == State::Within
                    && statement.meta.is_none()
                    && self.passes_statement(&statement.tokens);
                self.is_copy_left_out = !passes;
                passes
            }
        }
    }

    fn mark(&mut self, text: &str) {
        match (Mark::of(text), self.state) {
            (Some(Mark::DatabaseBegins), State::Before) if self.to_skip == 0 => {
                self.state = State::Within;
            }
            (Some(Mark::DatabaseBegins), State::Before) => self.to_skip -= 1,
            (Some(Mark::DatabaseEnds), State::Within) => self.state = State::After,
            _ => {}
        }
    }

    fn passes_statement(&mut self, tokens: &Tokens) -> bool {
        self.has_created |= tokens.is_creation();
        let is_about_others = tokens.is_about_a_database()
            || tokens.is_about_the_cluster()
            // All of it is one transaction already; large objects bring their own.
            || tokens.is_transaction_control();
        // A new database has nothing to be removed.
        let is_needless = tokens.is_removal() && !self.has_created;
        !is_about_others && !is_needless && !self.is_unknown(tokens) && !self.is_left_out(tokens)
    }

    /// A newer tool sets parameters that an older server does not have.
    fn is_unknown(&self, tokens: &Tokens) -> bool {
        let parameter = tokens.parameter_of_set();
        let is_plain =
            |name: &&str| !matches!(*name, "session" | "local" | "role" | "time" | "transaction");
        parameter
            .filter(is_plain)
            .is_some_and(|name| !self.parameters.contains(name))
    }

    fn is_left_out(&self, tokens: &Tokens) -> bool {
        let extension = tokens.extension();
        (self.leave_out.ownership && tokens.is_about_ownership())
            || (self.leave_out.tablespaces && tokens.is_about_tablespaces())
            || extension.is_some_and(|name| self.leave_out.extensions.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::foreign::plain::items::Items;

    fn passed(text: &str, section: usize, leave_out: &LeaveOut) -> String {
        let parameters = ["search_path".to_owned(), "default_tablespace".to_owned()].into();
        let mut filter = Filter::new(section, leave_out, &parameters);
        let mut items = Items::new(text.as_bytes());
        let (mut raw, mut passed) = (Vec::new(), Vec::new());
        while let Some(item) = items.next(&mut raw).unwrap() {
            if filter.passes(&item) {
                passed.extend_from_slice(&raw);
            }
        }
        assert!(filter.is_complete());
        String::from_utf8(passed)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn framed(body: &str) -> String {
        format!("-- PostgreSQL database dump\n{body}\n-- PostgreSQL database dump complete\n")
    }

    #[test]
    fn nothing_that_is_about_the_live_database_or_the_cluster_passes() {
        let body = "\\restrict x\nCREATE DATABASE shop;\nALTER DATABASE shop SET a TO b;\n\
             \\unrestrict x\n\\connect shop\nGRANT CONNECT ON DATABASE shop TO bob;\nCREATE ROLE bob;\n\
             COMMIT;\nDROP DATABASE shop;\nCREATE TABLE t (a int);\n";
        let all = LeaveOut::default();
        assert_eq!(passed(&framed(body), 0, &all), "CREATE TABLE t (a int);");
    }

    #[test]
    fn removals_of_a_clean_dump_and_unknown_parameters_are_left_out() {
        let body = "SET transaction_timeout = 0;\nSET search_path = '';\nDROP TABLE t;\n\
             ALTER TABLE ONLY t DROP CONSTRAINT c;\nCREATE TABLE t (a int);\nALTER TABLE t DROP a;\n";
        let all = LeaveOut::default();
        let expected = "SET search_path = ''; CREATE TABLE t (a int); ALTER TABLE t DROP a;";
        assert_eq!(passed(&framed(body), 0, &all), expected);
    }

    #[test]
    fn the_wanted_database_of_several_passes_alone() {
        let text =
            framed("SELECT 1;") + &framed("COPY t FROM stdin;\na\n\\.\n") + &framed("SELECT 3;");
        let all = LeaveOut::default();
        assert_eq!(passed(&text, 0, &all), "SELECT 1;");
        assert_eq!(passed(&text, 1, &all), "COPY t FROM stdin; a \\.");
        assert_eq!(passed(&text, 2, &all), "SELECT 3;");
    }

    #[test]
    fn what_is_to_be_left_out_is_left_out() {
        let body = "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;\nCOMMENT ON EXTENSION vector IS 'x';\n\
             SET default_tablespace = ssd;\nALTER TABLE t OWNER TO bob;\nGRANT SELECT ON t TO bob;\nSELECT 1;\n";
        let leave_out = LeaveOut {
            ownership: true,
            tablespaces: true,
            extensions: ["vector".to_owned()].into(),
        };
        assert_eq!(passed(&framed(body), 0, &leave_out), "SELECT 1;");
    }
}
