//! Every `rekindle …` in the guides is a command with options that there are.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::Home;

#[test]
fn every_command_line_of_the_documents_is_understood() {
    let home = Home::new();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        for line in command_lines(&text) {
            let words = words(&line);
            // With `--help` at its end a command is read to the end, and not run.
            let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
            arguments.push("--help");
            let ran = home.run(&arguments);
            tried += 1;
            if ran.code != 0 {
                let why = ran.stderr.lines().next().unwrap_or_default();
                wrong.push(format!("{}: `rekindle {line}`: {why}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 200, "{tried} were found only");
}

/// The guides, what else is read by users, and the front page.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![root.join("README.md")];
    for folder in ["docs", "docs/guides"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// What stands behind `rekindle` where a command is meant.
fn command_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            let (language, block) = part.split_once('\n').unwrap_or((part, ""));
            found.extend(lines_of_block(language, block));
        } else {
            let code = part.split('`').skip(1).step_by(2);
            let commands = code.filter_map(|code| code.strip_prefix("rekindle "));
            found.extend(commands.map(|line| line.replace('\n', " ")));
        }
    }
    // Not what the program prints of itself, as `rekindle 0.1.0`.
    found.retain(|line| line.starts_with(|c: char| c.is_ascii_lowercase() || c == '-'));
    found
}

fn lines_of_block(language: &str, block: &str) -> Vec<String> {
    let lines = block.replace("\\\n", " ");
    let commands = lines.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.strip_prefix("next: ").unwrap_or(line);
        match language {
            "sh" | "console" => after(line, "rekindle "),
            // A comment may follow in a column of its own.
            "text" => line
                .strip_prefix("rekindle ")
                .map(|rest| rest.split("   ").next().unwrap_or(rest)),
            _ => None,
        }
    });
    commands.map(str::to_owned).collect()
}

/// What stands behind a word of a line of the shell.
fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let at = line.find(word)?;
    let is_word = line[..at].is_empty() || line[..at].ends_with([' ', '(', '"']);
    let is_comment = line[..at].contains('#');
    (is_word && !is_comment).then(|| &line[at + word.len()..])
}

/// The words of a simple command, as a shell sees them, to its end or to the command behind `--`. Brackets around what may
/// be left out are taken away.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '[' | ']' | '…') => {}
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '&' | '<' | ')' | '`') => break,
            (None, '>') => {
                // The number of what is sent elsewhere.
                word.take_if(|word| word.chars().all(|c| c.is_ascii_digit()));
                break;
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if let Some(end) = words.iter().position(|word| word == "--") {
        words.truncate(end);
    }
    words
}

#[test]
fn commands_are_found_where_they_stand() {
    let text = "Run `rekindle vault\ncheck`, or `rekindle-x`.\n```sh\nsudo rekindle backup \\\n  --tag 'a b' 2>log # now\n```\n\
                ```text\n$ rekindle guard --yes -- make x\nrekindle vault prune [--now]   soon\nhost rekindle md5\n```\n";
    let lines = command_lines(text);
    let found: Vec<Vec<String>> = lines.iter().map(|line| words(line)).collect();
    let expected: [&[&str]; 4] = [
        &["vault", "check"],
        &["backup", "--tag", "a b"],
        &["guard", "--yes"],
        &["vault", "prune", "--now"],
    ];
    assert_eq!(found, expected);
}
