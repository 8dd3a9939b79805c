//! `$VARIABLE` and `${VARIABLE…}` in the values of a Compose file.

/// A text with its variables filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Interpolated {
    /// The text.
    pub text: String,
    /// The variable that it is a mere reference to: `$A` or `${A…}` and nothing else, and `A` is set.
    pub reference: Option<String>,
    /// Variables that are not set and have no default: nothing stands in their place.
    pub unset: Vec<String>,
}

/// Why a text could not be filled in. Compose refuses the file then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// A `$` that begins no variable.
    #[error("a `$` begins no variable; one that is meant as it is, is written `$$`")]
    Format,
    /// `${A:?…}` or `${A?…}`, and `A` is not set, or empty.
    #[error("the variable {name} must be set{}", because(.message))]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
}

fn because(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

/// Values may hold values; no deeper than this, so that no file can exhaust the stack.
const MAX_DEPTH: usize = 20;

/// Fills in the variables of `text`; `lookup` tells their values.
///
/// `${A:-x}` stands for `x` if `A` is not set or empty, `${A-x}` only if it is not set; `${A:?x}` and
/// `${A?x}` are errors then; `${A:+x}` and `${A+x}` stand for `x` if it *is* set. Within `x`, variables
/// are filled in, too. `$$` is a dollar sign. Source: Compose Specification, "Interpolation".
///
/// # Errors
/// [`InterpolationError`]; it names variables, never their values.
pub fn interpolate(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Interpolated, InterpolationError> {
    let mut filler = Filler {
        lookup,
        unset: Vec::new(),
        depth: 0,
    };
    let filled = filler.fill(text)?;
    let reference = whole_reference(text).filter(|name| {
        let value = lookup(name);
        value.is_some_and(|value| value == filled)
    });
    Ok(Interpolated {
        text: filled,
        reference,
        unset: filler.unset,
    })
}

struct Filler<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: Vec<String>,
    depth: usize,
}

impl Filler<'_> {
    fn fill(&mut self, text: &str) -> Result<String, InterpolationError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(InterpolationError::Format);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            rest = if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                after
            } else if let Some(inside) = after.strip_prefix('{') {
                let end = closing(inside).ok_or(InterpolationError::Format)?;
                out.push_str(&self.braced(&inside[..end])?);
                &inside[end + 1..]
            } else {
                let length = name_length(after);
                if length == 0 {
                    return Err(InterpolationError::Format);
                }
                out.push_str(&self.plain(&after[..length]));
                &after[length..]
            };
        }
        out.push_str(rest);
        self.depth -= 1;
        Ok(out)
    }

    fn plain(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if !self.unset.iter().any(|unset| unset == name) {
                self.unset.push(name.to_owned());
            }
            String::new()
        })
    }

    fn braced(&mut self, inside: &str) -> Result<String, InterpolationError> {
        let length = name_length(inside);
        let (name, operation) = inside.split_at(length);
        if name.is_empty() {
            return Err(InterpolationError::Format);
        }
        if operation.is_empty() {
            return Ok(self.plain(name));
        }
        // With the colon, an empty value counts as none.
        let (empty_is_unset, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let value = (self.lookup)(name).filter(|value| !(empty_is_unset && value.is_empty()));
        let mut characters = operation.chars();
        let operator = characters.next();
        let argument = characters.as_str();
        match (operator, value) {
            (Some('-'), Some(value)) | (Some('?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.fill(argument),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => Err(InterpolationError::Required {
                name: name.to_owned(),
                message: self.fill(argument)?,
            }),
            _ => Err(InterpolationError::Format),
        }
    }
}

/// How many bytes of a variable's name stand at the beginning.
fn name_length(text: &str) -> usize {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_next = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if !text.bytes().next().is_some_and(is_first) {
        return 0;
    }
    text.bytes().take_while(|byte| is_next(byte)).count()
}

/// Where the brace closes that was opened just before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    let mut previous = '\0';
    for (at, character) in text.char_indices() {
        match character {
            '{' if previous == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
        previous = character;
    }
    None
}

fn whole_reference(text: &str) -> Option<String> {
    let rest = text.strip_prefix('$')?;
    if let Some(inside) = rest.strip_prefix('{') {
        let end = closing(inside)?;
        let length = name_length(inside);
        let is_whole = end + 1 == inside.len() && length > 0;
        return is_whole.then(|| inside[..length].to_owned());
    }
    let is_whole = !rest.is_empty() && name_length(rest) == rest.len();
    is_whole.then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".into()),
            "B_2" => Some("two words".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_as_the_specification_says() {
        let table = [
            ("", ""),
            ("plain", "plain"),
            ("$A", "1"),
            ("${A}", "1"),
            ("x${A}y$A-z", "x1y1-z"),
            ("$B_2!", "two words!"),
            ("${NONE}", ""),
            ("${A:-x}", "1"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY-x}", ""),
            ("${NONE-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-${A}}", "1"),
            ("${NONE:-a${EMPTY:-b$A}c}", "ab1c"),
            ("${NONE:-http://h:80/{id}", "http://h:80/{id"),
            ("${A:+x}", "x"),
            ("${EMPTY:+x}", ""),
            ("${EMPTY+x}", "x"),
            ("${NONE+x}", ""),
            ("${A:?no}", "1"),
            ("${EMPTY?no}", ""),
            ("$$A", "$A"),
            ("$${A}", "${A}"),
            ("ä$Aö", "ä1ö"),
        ];
        for (text, expected) in table {
            let filled = interpolate(text, &lookup).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filled.text, expected, "{text}");
        }
    }

    #[test]
    fn what_compose_refuses_is_refused() {
        for text in [
            "$", "a$ b", "$1", "${", "${A", "${}", "${1}", "${A!x}", "${A:x}", "$-",
        ] {
            let error = interpolate(text, &lookup).err();
            assert_eq!(error, Some(InterpolationError::Format), "{text}");
        }
        for text in ["${NONE:?set it}", "${NONE?set it}", "${EMPTY:?set it}"] {
            let error = interpolate(text, &lookup).err().unwrap();
            assert!(
                error.to_string().ends_with("must be set: set it"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_mere_reference_is_told_from_a_text_that_holds_one() {
        let table = [
            ("$A", Some("A")),
            ("${A}", Some("A")),
            ("${A:-x}", Some("A")),
            ("${A:?x}", Some("A")),
            ("${NONE:-1}", None),
            ("x$A", None),
            ("${A}x", None),
            ("$A$A", None),
            ("${A:+2}", None),
        ];
        for (text, expected) in table {
            let filled = interpolate(text, &lookup).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filled.reference.as_deref(), expected, "{text}");
        }
        let filled = interpolate("$X$Y$X", &lookup).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(filled.unset, ["X", "Y"]);
    }

    #[test]
    fn a_text_nested_without_end_is_refused() {
        let text = format!("{}{}", "${N:-".repeat(5000), "}".repeat(5000));
        assert!(interpolate(&text, &lookup).is_err());
    }
}
