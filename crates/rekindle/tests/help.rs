//! Help texts, completions, and what is said to wrong arguments.

mod support;

use support::Home;

const HELP: &str = "\
Disaster recovery for self-hosted stacks: backs up every stateful service that rekindle.yaml
describes, and brings it back

Usage: rekindle [OPTIONS] <COMMAND>

Commands:
  init        Write a rekindle.yaml, a vault password and an empty vault
  doctor      Look for what would make a backup or a restore fail, and say how to mend it
  status      Say whether everything can be brought back, and to when
  backup      Make a recovery point of all services, or of those named
  points      List recovery points, show one, compare two
  import      Make a recovery point of dumps or archives that lie anywhere
  export      Write a recovery point as plain, dated files with checksums
  guard       Make a recovery point, run a command, and offer the way back if it fails
  restore     Bring data of a recovery point back to a directory, or one database to its server
  service     Say how the services are; start and stop them in order
  wal         Look after the WAL archive, with which any moment can be restored
  retention   Show what need not be kept any longer, and remove it
  copy        Keep copies of the vault in other places, and say how far they are
  hold        Keep recovery points from being forgotten, whatever the retention says
  kit         Write what restores this stack elsewhere: a sealed file, and a page to print
  vault       Make, check and look after the vault
  config      Check and show rekindle.yaml
  completion  Print a completion script for a shell
  help        Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version

Global options:
      --config <FILE>        The configuration file
      --vault <COPY>         Work on this copy of the vault instead of the vault itself
      --json                 Print JSON: data to stdout, an error as the last line of stderr
  -q, --quiet                Show data and errors only
  -v, --verbose...           Log more; repeat for still more
      --log-format <FORMAT>  How logs are written [default: human] [possible values: human, json]
      --color <WHEN>         When to use colours [default: auto] [possible values: auto, always,
                             never]

A first recovery point, and the way back:
  rekindle init --postgres postgres://backup@localhost:5432/postgres
  rekindle doctor
  rekindle backup
  rekindle restore latest --service postgres --to /srv/restored

Configuration: --config FILE, else $REKINDLE_CONFIG, ./rekindle.yaml, /etc/rekindle/rekindle.yaml
Logs go to stderr; $REKINDLE_LOG chooses them as in `warn,rekindle_vault=debug`

Exit codes:
  0    done
  1    failed; `status` and `doctor`: something is wrong
  2    wrong use, or errors in rekindle.yaml
  4    stored, but not restorable
  5    partly done: something was skipped or could not be read
  6    a target (RPO, RTO) is missed
  7    approval needed: look at the plan, and say --yes
  126  `wal get`: any failure, so that PostgreSQL stops rather than end recovery early
  130  interrupted; 143 terminated
";

#[test]
fn help_fits_a_screen_and_documents_the_exit_codes() {
    Home::new().run(&["--help"]).says(0, HELP, "");
    Home::new().run(&["-h"]).says(0, HELP, "");
}

#[test]
fn no_argument_is_wrong_use_and_gets_the_help() {
    Home::new().run(&[]).says(2, "", HELP);
}

#[test]
fn every_command_explains_itself() {
    let with_examples = [
        "init",
        "doctor",
        "status",
        "backup",
        "points",
        "restore",
        "import",
        "export",
        "guard",
        "service list",
        "service up",
        "wal windows",
        "copy run",
        "copy status",
        "copy create",
        "vault check",
        "vault prune",
        "vault keys",
        "kit",
        "vault heal",
        "vault parity",
        "vault rebuild-index",
        "vault salvage",
        "vault object-lock status",
        "vault object-lock extend",
        "vault object-lock undelete",
        "config check",
        "config schema",
        "completion",
    ];
    let without = [
        "retention show",
        "kit open",
        "hold add",
        "hold list",
        "hold remove",
        "points forget",
        "vault keys add",
        "vault keys remove",
        "vault keys rotate",
        "retention apply",
        "vault init",
        "vault stats",
        "vault unlock",
        "vault parity make",
        "vault parity remove",
        "config show",
        "points diff",
        "wal push",
        "wal get",
        "service start",
        "service stop",
        "service restart",
        "service logs",
        "service down",
    ];
    for command in with_examples.iter().chain(&without) {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--help");
        let help = Home::new().ok(&arguments);
        assert!(
            help.contains(&format!("Usage: rekindle {command}")),
            "{help}"
        );
        let has_example = help.contains(&format!("\n  rekindle {}", &command));
        assert!(has_example || without.contains(command), "{help}");
    }
}

#[test]
fn the_version_is_told() {
    Home::new()
        .run(&["--version"])
        .says(0, "rekindle 0.1.0\n", "");
}

#[test]
fn a_misspelt_command_gets_a_suggestion() {
    let said = "\
error: unrecognized subcommand 'bakcup'

  tip: a similar subcommand exists: 'backup'

Usage: rekindle [OPTIONS] <COMMAND>

For more information, try '--help'.
";
    Home::new().run(&["bakcup"]).says(2, "", said);
}

#[test]
fn wrong_use_is_json_when_json_was_asked_for() {
    let error = Home::new().json_error(&["restore"], 2);
    let text = error["error"].as_str().unwrap();
    assert!(
        text.contains("required arguments were not provided"),
        "{text}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("--to <DIR>"),
        "{error}"
    );
}

#[test]
fn arguments_that_exclude_each_other_are_refused() {
    let home = Home::new();
    let refused: [&[&str]; 6] = [
        &["restore", "--to", "x", "--database", "d", "--as", "e"],
        &["restore", "--database", "d"],
        &["restore", "--to", "x", "--as", "e"],
        &["restore", "--table", "t"],
        &["restore", "--to", "x", "--owner", "nobody-has-this-name"],
        &["points", "-q", "-v"],
    ];
    for arguments in refused {
        assert_eq!(home.run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Home::new().ok(&["completion", shell]);
        assert!(script.contains("rekindle"), "{shell}");
        assert!(script.contains("completion"), "{shell}");
    }
}
