//! The page to print: without a secret, without anything from elsewhere.

use super::{
    facts::KitFacts,
    text::{file_name, repository, steps, with_rekindle},
};

const STYLE: &str = "\
@page { size: A4; margin: 14mm }
* { box-sizing: border-box }
body { font: 15px/1.45 system-ui, sans-serif; color: #111; background: #fff; max-width: 48rem; margin: 0 auto; padding: 1.25rem }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .25rem }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; padding-top: .6rem; border-top: 2px solid #111 }
h3 { font-size: 1rem; margin: 1.1rem 0 .2rem }
p { margin: .25rem 0 }
.made { color: #555 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .8rem 0 }
dt { font-weight: 600 }
dd { margin: 0; overflow-wrap: anywhere }
pre { font: 13px/1.4 ui-monospace, monospace; background: #f3f3f1; border-left: 3px solid #111; padding: .5rem .7rem; margin: .35rem 0; white-space: pre-wrap; overflow-wrap: anywhere }
.warn { border: 2px solid #111; padding: .5rem .8rem; margin: .8rem 0 }
pre span { display: block; padding-left: 3ch; text-indent: -3ch }
code { font: .92em ui-monospace, monospace }
section { break-inside: avoid }
@media (max-width: 34rem) { body { padding: .9rem } dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .4rem } pre { font-size: 12px } }
@media print { body { font-size: 9.5pt; max-width: none; padding: 0 } pre { font-size: 8pt; background: none; border-left-width: 1.5pt; padding: .2rem .5rem } h2 { margin-top: .8rem } h3 { margin-top: .5rem } }
";

/// The page, as one HTML file.
pub(super) fn page(facts: &KitFacts) -> String {
    let stack = escaped(&facts.stack);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n\
         <title>Recovery kit of {stack}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Recovery kit of {stack}</h1>\n<p class=\"made\">Made {} on {}</p>\n",
        escaped(&facts.made),
        escaped(&facts.host)
    );
    html += &format!(
        "<p class=\"warn\">This page holds no secret. The file <b>{}</b> holds all of them; {}. Keep both \
         away from the machines that they are about.</p>\n",
        escaped(&file_name(&facts.stack)),
        match facts.by_passphrase {
            true => "a passphrase opens it".to_owned(),
            false => "a secret key of age opens it".to_owned(),
        }
    );
    html += &places(facts);
    html += "<h2>With stock programs, as root, in bash</h2>\n";
    for (number, step) in steps(facts).iter().enumerate() {
        html += &format!(
            "<section>\n<h3>{}. {}</h3>\n<p>{}</p>\n{}</section>\n",
            number + 1,
            in_words(&step.title),
            in_words(&step.words),
            block(&step.commands)
        );
    }
    let commands = with_rekindle(facts);
    html += &format!(
        "<h2>Or with Rekindle</h2>\n{}</main>\n</body>\n</html>\n",
        block(&commands)
    );
    html
}

fn places(facts: &KitFacts) -> String {
    let mut html = "<dl>\n".to_owned();
    let mut line = |term: &str, text: &str| {
        html += &format!("<dt>{}</dt><dd>{}</dd>\n", escaped(term), escaped(text));
    };
    for (number, place) in facts.places.iter().enumerate() {
        let term = match number {
            0 => "Vault".to_owned(),
            _ => format!("Copy {}", place.name),
        };
        line(
            &term,
            &format!(
                "{} — restic: {}",
                place.location,
                repository(&place.location)
            ),
        );
    }
    for service in &facts.services {
        let major = service.major.map_or_else(
            || "no point yet".to_owned(),
            |major| format!("PostgreSQL {major}"),
        );
        line(&format!("Service {}", service.name), &major);
    }
    for recipient in &facts.escrow {
        line("Opened by", recipient);
    }
    for contact in &facts.contacts {
        line(&contact.role, &contact.reach);
    }
    html + "</dl>\n"
}

/// Commands, each in a line of its own, whose rest is indented where it does not fit: on paper the
/// end of a command must be seen.
fn block(commands: &str) -> String {
    let lines = commands.lines();
    let lines: String = lines
        .map(|line| format!("<span>{}</span>", escaped(line)))
        .collect();
    format!("<pre>{lines}</pre>\n")
}

/// Words, with what stands between grave accents as code.
fn in_words(text: &str) -> String {
    let mut html = String::new();
    for (number, part) in escaped(text).split('`').enumerate() {
        match number % 2 {
            1 => html += &format!("<code>{part}</code>"),
            _ => html += part,
        }
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
