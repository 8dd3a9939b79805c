//! A proposal as the text of a `rekindle.yaml`: the parts that depend on the project.

use super::datasets::{Draft, shown_path};
use super::propose::{Found, Proposal, ProposedService};
use crate::compose::is_usual_name;
use crate::model::Priority;
use crate::yaml::Yaml;

/// Widest line of a comment.
const WIDTH: usize = 110;

impl Proposal {
    /// The value of `services`, indented by two.
    pub(crate) fn services_yaml(&self) -> String {
        let blocks: Vec<String> = self.services.iter().map(block).collect();
        blocks.join("\n")
    }

    /// The `runtime` key.
    pub(crate) fn runtime_yaml(&self) -> String {
        let mut keys = match &self.found {
            Found::Units => vec![("kind".to_owned(), Yaml::text("systemd"))],
            Found::Project(name) => vec![
                ("kind".to_owned(), Yaml::text("compose")),
                ("project".to_owned(), Yaml::text(name)),
            ],
        };
        // Those that Compose finds beside rekindle.yaml are found by themselves.
        let is_found = self
            .files
            .iter()
            .all(|file| file.parent() == Some(&self.base) && is_usual_name(file));
        if !self.files.is_empty() && !is_found {
            let files: Vec<String> = self
                .files
                .iter()
                .map(|file| shown_path(file, &self.base))
                .collect();
            keys.push(("files".to_owned(), Yaml::list(&files)));
        }
        Yaml::Map(vec![("runtime".to_owned(), Yaml::Map(keys))])
            .document()
            .trim_end()
            .to_owned()
    }

    /// The `env` key, if there is an env file.
    pub(crate) fn env_yaml(&self) -> Option<String> {
        let file = shown_path(self.env_file.as_deref()?, &self.base);
        let keys = vec![("file".to_owned(), Yaml::text(file))];
        let document = Yaml::Map(vec![("env".to_owned(), Yaml::Map(keys))]).document();
        let why = comment(
            "Where the variables named by `…_env` are looked up if they are not in the environment.",
            0,
        );
        Some(format!("{why}{}", document.trim_end()))
    }
}

fn block(service: &ProposedService) -> String {
    let component = &service.component;
    let what = match component.product {
        Some(product) => format!("{product} ({}).", component.evidence),
        None => format!("{}.", capitalised(&component.evidence)),
    };
    let mut text = comment(&what, 2);
    for reason in &service.why {
        text += &comment(reason, 2);
    }
    text += &format!("  {}:\n", Yaml::text(service.name.as_str()).inline());
    if let Some(unit) = &service.unit {
        text += &format!("    unit: {}\n", Yaml::text(unit).inline());
    }
    if service.is_stateless() {
        text += "    stateless: true\n";
    } else {
        text += "    datasets:\n";
        for draft in &service.datasets {
            text += &dataset(draft);
        }
    }
    if service.stops {
        text += "    during_backup: stop\n";
    }
    if !service.depends_on.is_empty() {
        let list = Yaml::list(&service.depends_on);
        text += &format!("    depends_on: {}\n", list.inline());
    }
    if let Some(url) = &service.health {
        text += &format!("    health: {{ http: {} }}\n", Yaml::text(url).inline());
    }
    if let Some(command) = &service.health_command {
        let words = Yaml::list(command).inline();
        text += &format!("    health: {{ command: {words} }}\n");
    }
    if !service.is_stateless() {
        text += &format!("    rpo: 1d\n    rto: {}\n", rto(service.priority));
    }
    if service.priority != Priority::default() {
        text += &format!("    priority: {}\n", service.priority);
    }
    if service.optional {
        text += "    optional: true\n";
    }
    text
}

fn rto(priority: Priority) -> &'static str {
    match priority {
        Priority::Critical | Priority::High => "1h",
        Priority::Medium => "2h",
        Priority::Low => "4h",
    }
}

fn dataset(draft: &Draft) -> String {
    let mut text = String::new();
    for reason in &draft.why {
        text += &comment(reason, 6);
    }
    text += &format!("      - kind: {}\n", draft.kind);
    for key in &draft.keys {
        for reason in &key.why {
            text += &comment(reason, 8);
        }
        text += &format!("        {}: {}\n", key.key, key.value.inline());
    }
    text
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// The words as lines of a comment.
fn comment(words: &str, indent: usize) -> String {
    let begin = " ".repeat(indent) + "#";
    let mut text = String::new();
    let mut line = begin.clone();
    for word in words.split_whitespace() {
        let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH;
        if is_full && line != begin {
            text += &line;
            text.push('\n');
            line.clone_from(&begin);
        }
        line.push(' ');
        line += word;
    }
    text + &line + "\n"
}
