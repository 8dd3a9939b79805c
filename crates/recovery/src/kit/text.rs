//! The steps of a restore by hand, with the commands of this stack.

use rekindle_stack::VaultLocation;

use super::facts::{KitFacts, KitPlace, KitService};

/// A step: what it is for, and what to type.
pub(super) struct Step {
    pub title: String,
    pub words: String,
    pub commands: String,
}

fn step(title: impl Into<String>, words: impl Into<String>, commands: impl Into<String>) -> Step {
    Step {
        title: title.into(),
        words: words.into(),
        commands: commands.into(),
    }
}

/// The name of the sealed file.
pub(super) fn file_name(stack: &str) -> String {
    format!("rekindle-kit-{stack}.age")
}

/// All steps, with stock programs only.
pub(super) fn steps(facts: &KitFacts) -> Vec<Step> {
    let mut steps = vec![tools(), opening(facts)];
    if let Some(vault) = facts.places.first() {
        steps.push(reaching(vault));
    }
    for service in &facts.services {
        if service.is_physical {
            steps.push(base_backup(service));
            if service.archived.is_some()
                && let Some(vault) = facts.places.first()
            {
                steps.push(archived_wal(service, vault));
            }
            steps.push(starting(service));
        } else {
            steps.push(dumps(service));
        }
    }
    steps
}

fn tools() -> Step {
    step(
        "What you need",
        "Any Linux machine, as root, with these programs (restic 0.14 or later), and PostgreSQL of the \
         version named below.",
        "apt-get install -y restic age zstd\n",
    )
}

fn opening(facts: &KitFacts) -> Step {
    let file = file_name(&facts.stack);
    let (words, key) = match facts.by_passphrase {
        true => (
            "age asks for the passphrase that was chosen when the kit was made.",
            String::new(),
        ),
        false => (
            "KEY is the file with the secret key (`AGE-SECRET-KEY-1…`) of one of the recipients.",
            "-i KEY ".to_owned(),
        ),
    };
    let commands = format!(
        "umask 077\nage -d {key}-o kit.tar {file}\nmkdir kit && tar -xf kit.tar -C kit && rm kit.tar\n\
         cd kit\n"
    );
    step("Open the kit", words, commands)
}

fn reaching(place: &KitPlace) -> Step {
    let mut commands = format!(
        "export RESTIC_REPOSITORY={}\n",
        quoted(&repository(&place.location))
    );
    commands += "export RESTIC_PASSWORD_FILE=$PWD/secrets/vault-password\n";
    if place.has_credentials {
        commands += match place.location {
            VaultLocation::Gcs { .. } => {
                "export GOOGLE_APPLICATION_CREDENTIALS=$PWD/secrets/vault-credentials\n"
            }
            _ => "set -a; . ./secrets/vault-credentials; set +a\n",
        };
    }
    commands += "restic snapshots\n";
    let words = "Every snapshot is a recovery point. If the vault's disk is mounted read-only, or moved, add \
                 `--no-lock`, or say where it is now.";
    step("Reach the vault", words, commands)
}

fn base_backup(service: &KitService) -> Step {
    let name = &service.name;
    let commands = format!(
        "TARGET=/srv/restored-{name}\n\
         BASE=$TARGET/{name}/postgres/base\n\
         restic restore latest --path /{name}/postgres --target $TARGET --include /{name}/postgres/base\n\
         chown -R postgres: $TARGET\n\
         chmod 700 $BASE\n"
    );
    let words = "The whole cluster, from the newest point; `restic snapshots` lists others, by whose id \
                 `latest` may be replaced.";
    step(
        format!("Service `{name}`: the data directory"),
        words,
        commands,
    )
}

fn archived_wal(service: &KitService, place: &KitPlace) -> Step {
    let system = service.archived.unwrap_or_default();
    let megabytes = (service.segment_bytes >> 20).max(1);
    let (fetching, archive) = fetching(&place.location);
    let commands = format!(
        "{fetching}mkdir $TARGET/wal\n\
         for file in {archive}/wal/{system}/*/*.zst.age; do\n  \
           name=$(basename \"$file\" .zst.age)\n  \
           age -d -i secrets/wal.key \"$file\" | zstd -q -d > \"$TARGET/wal/$name\" || rm \"$TARGET/wal/$name\"\n\
         done\n\
         for part in $TARGET/wal/*.partial; do\n  \
           [ ! -e \"$part\" ] || [ -e \"${{part%.partial}}\" ] || \
         {{ mv \"$part\" \"${{part%.partial}}\"; truncate -s {megabytes}M \"${{part%.partial}}\"; }}\n\
         done\n\
         chown -R postgres: $TARGET/wal\n\
         echo \"restore_command = 'cp \\\"$TARGET/wal/%f\\\" \\\"%p\\\"'\" >> $BASE/postgresql.auto.conf\n\
         touch $BASE/recovery.signal && chown postgres: $BASE/recovery.signal\n"
    );
    let words = "Everything that was written since the point. For a moment in between, add to \
                 postgresql.auto.conf: recovery_target_time = '2026-11-21 14:30:00+00' and \
                 recovery_target_action = 'promote'.";
    step(
        format!("Service `{}`: what was written after it", service.name),
        words,
        commands,
    )
}

fn starting(service: &KitService) -> Step {
    let major = service
        .major
        .map_or_else(|| "MAJOR".to_owned(), |major| major.to_string());
    let commands = format!(
        "su postgres -c \"/usr/lib/postgresql/{major}/bin/pg_ctl -D $BASE -t 3600 -w start \\\n  \
           -l $BASE/started.log -o '-p 5433 -c archive_mode=off'\"\n\
         until su postgres -c \"psql -p 5433 -Atc 'select pg_is_in_recovery()'\" | grep -q f; do sleep 1; done\n\
         su postgres -c \"psql -p 5433 -l\"\n"
    );
    let words =
        format!("With PostgreSQL {major}. On another port first, to look whether all is there.");
    step(
        format!("Service `{}`: start it", service.name),
        words,
        commands,
    )
}

fn dumps(service: &KitService) -> Step {
    let name = &service.name;
    let dump = |file: &str| {
        let path = quoted(&format!("/{name}/postgres/dump/{file}"));
        format!("restic dump --path /{name}/postgres latest {path}")
    };
    let mut commands = format!("{} | su postgres -c \"psql -q\"\n", dump("globals.sql"));
    for (database, file) in &service.dumps {
        let database = quoted(database);
        commands += &format!("su postgres -c \"createdb {database}\"\n");
        commands += &format!(
            "{} | su postgres -c \"pg_restore --exit-on-error -d {database}\"\n",
            dump(file)
        );
    }
    let words = "Into a running server of the same major version or newer.";
    step(format!("Service `{name}`: its databases"), words, commands)
}

/// What to type where Rekindle is at hand.
pub(super) fn with_rekindle(facts: &KitFacts) -> String {
    let file = file_name(&facts.stack);
    let identity = if facts.by_passphrase {
        ""
    } else {
        " --identity KEY"
    };
    let mut commands = format!("rekindle kit open {file}{identity} --to kit\n");
    for service in &facts.services {
        let name = &service.name;
        commands += &format!(
            "rekindle --config kit/rekindle.yaml restore latest --service {name} --to /srv/restored-{name}\n"
        );
    }
    commands
}

/// restic's name of a place. Source: restic's manual, "Preparing a new repository".
pub(super) fn repository(location: &VaultLocation) -> String {
    let joined = |prefix: &str| prefix.trim_matches('/').to_owned();
    match location {
        VaultLocation::Local(path) => path.display().to_string(),
        VaultLocation::S3 {
            bucket,
            prefix,
            endpoint,
            region,
        } => {
            let aws = || {
                let region = region.as_deref().unwrap_or("us-east-1");
                format!("https://s3.{region}.amazonaws.com")
            };
            let endpoint = endpoint.clone().unwrap_or_else(aws);
            let whole = format!(
                "s3:{}/{bucket}/{}",
                endpoint.trim_end_matches('/'),
                joined(prefix)
            );
            whole.trim_end_matches('/').to_owned()
        }
        VaultLocation::Gcs { bucket, prefix } => format!("gs:{bucket}:/{}", joined(prefix)),
        VaultLocation::Azure { container, prefix } => {
            format!("azure:{container}:/{}", joined(prefix))
        }
        VaultLocation::Sftp {
            user,
            host,
            port,
            path,
        } => {
            let user = at(user.as_deref());
            match port {
                Some(port) => format!("sftp://{user}{host}:{port}/{path}"),
                None => format!("sftp:{user}{host}:{path}"),
            }
        }
        other => other.to_string(),
    }
}

/// What brings the WAL archive here, and where it is then. restic does not carry it.
fn fetching(location: &VaultLocation) -> (String, String) {
    let here = || "archive".to_owned();
    let rclone = |remote: &str, bucket: &str, prefix: &str| {
        let from = quoted(&format!("{remote}:{}", within(bucket, prefix)));
        let command = format!("apt-get install -y rclone && rclone copy {from} archive\n");
        (command, here())
    };
    match location {
        VaultLocation::Local(_) => (String::new(), "$RESTIC_REPOSITORY/rekindle".to_owned()),
        VaultLocation::Sftp {
            user,
            host,
            port,
            path,
        } => {
            let user = at(user.as_deref());
            let port = port.map(|port| format!("-P {port} ")).unwrap_or_default();
            let from = quoted(&format!("{user}{host}:{path}/rekindle"));
            (format!("scp -r {port}{from} archive\n"), here())
        }
        VaultLocation::S3 {
            bucket,
            prefix,
            endpoint,
            region,
        } => {
            let mut remote = ":s3,env_auth=true".to_owned();
            if let Some(endpoint) = endpoint {
                remote += &format!(",provider=Other,endpoint=\"{endpoint}\"");
            }
            if let Some(region) = region {
                remote += &format!(",region={region}");
            }
            rclone(&remote, bucket, prefix)
        }
        VaultLocation::Gcs { bucket, prefix } => rclone(":gcs,env_auth=true", bucket, prefix),
        VaultLocation::Azure { container, prefix } => {
            rclone(":azureblob,env_auth=true", container, prefix)
        }
        _ => (String::new(), here()),
    }
}

fn at(user: Option<&str>) -> String {
    user.map(|user| format!("{user}@")).unwrap_or_default()
}

fn within(bucket: &str, prefix: &str) -> String {
    let parts = [bucket, prefix.trim_matches('/'), "rekindle"];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

/// As one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The page as plain text, which lies in the kit too.
pub(super) fn plain(facts: &KitFacts) -> String {
    let mut text = format!(
        "KIT OF `{}`\nmade {} on {}\n\nWhere the data is:\n",
        facts.stack, facts.made, facts.host
    );
    for place in &facts.places {
        text += &format!("  {:<10} {}\n", place.name, place.location);
    }
    for contact in &facts.contacts {
        text += &format!("  {}: {}\n", contact.role, contact.reach);
    }
    text += "\nWITH STOCK PROGRAMS, AS ROOT, IN BASH\n";
    for (number, step) in steps(facts).iter().enumerate() {
        text += &format!(
            "\n{}. {}\n{}\n\n{}",
            number + 1,
            step.title,
            step.words,
            indented(&step.commands)
        );
    }
    text + "\nOR WITH REKINDLE\n\n" + &indented(&with_rekindle(facts))
}

fn indented(commands: &str) -> String {
    let lines = commands.lines();
    lines.map(|line| format!("    {line}\n")).collect()
}
