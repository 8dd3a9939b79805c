//! `rekindle doctor`.

use std::io::Write;

use rekindle_recovery::{Finding, FindingLevel};
use rekindle_stack::Problem;
use serde_json::json;

use crate::{
    app::App,
    errors::{CliError, Exit},
    output::{Paint, count, paint_stdout, write_json},
};

/// Prints what was found; exit code 1 if there is a problem.
///
/// # Errors
/// As the configuration cannot be read.
pub fn run(app: &App, out: &mut dyn Write) -> Result<Exit, CliError> {
    let loaded = app.load()?;
    let mut findings: Vec<Finding> = loaded.warnings.iter().map(advice).collect();
    findings.extend(rekindle_recovery::doctor(&loaded.stack, &loaded.path));
    let number = |level| findings.iter().filter(|f| f.level == level).count() as u64;
    let problems = number(FindingLevel::Problem);
    if app.is_json() {
        write_json(out, &json!({ "ok": problems == 0, "findings": findings }))?;
    } else {
        findings
            .iter()
            .try_for_each(|finding| write_finding(app, out, finding))?;
        let advice = number(FindingLevel::Advice);
        let verdict = match (problems, advice) {
            (0, 0) => "all is well".to_owned(),
            (0, _) => format!("no problem, {advice} to improve"),
            (_, 0) => count(problems, "problem"),
            _ => format!("{}, {advice} to improve", count(problems, "problem")),
        };
        writeln!(out, "\n{verdict}")?;
    }
    if problems > 0 {
        return Ok(Exit::Failed);
    }
    app.next([app.command("backup")]);
    Ok(Exit::Done)
}

/// What works in the configuration, and should not stay.
fn advice(warning: &Problem) -> Finding {
    Finding {
        level: FindingLevel::Advice,
        subject: format!("{}:{}", warning.origin.display(), warning.line),
        text: warning.message.clone(),
        fix: warning.help.clone(),
    }
}

fn write_finding(app: &App, out: &mut dyn Write, finding: &Finding) -> Result<(), CliError> {
    let (paint, mark) = match finding.level {
        FindingLevel::Fine => (Paint::Green, "ok     "),
        FindingLevel::Advice => (Paint::Yellow, "advice "),
        FindingLevel::Problem => (Paint::Red, "problem"),
    };
    let mark = paint_stdout(&app.global, paint, mark);
    writeln!(out, "{mark}  {}: {}", finding.subject, finding.text)?;
    if let Some(fix) = &finding.fix {
        for line in fix.lines() {
            writeln!(out, "         fix: {line}")?;
        }
    }
    Ok(())
}
