//! Writes the files of a plan.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use flate2::{Compression, write::GzEncoder};
use rekindle_postgres::dump::Tools;
use rekindle_vault::{Index, Node, Snapshot, Vault, VaultError, durable};

use super::{
    ExportForm, ExportOutcome, ExportPlan, ExportRequest, ExportedFile, FailedFile, PlannedFile,
    plan::{Found, refuse_existing},
    sink::Sink,
    tar::TarWriter,
};
use crate::{RecoveryError, find_point::find_point, manifest::Manifest};

pub(super) fn export(
    vault: &Vault,
    request: &ExportRequest,
) -> Result<ExportOutcome, RecoveryError> {
    let clock = Instant::now();
    let snapshot = find_point(vault, &request.point, request.service.as_deref())?;
    let (index, _) = vault.load_readable_index()?;
    let manifest = Manifest::read(vault, &index, &snapshot)?;
    let found = Found {
        vault,
        index: &index,
        snapshot: &snapshot,
        manifest: &manifest,
    };
    let plan = found.plan(request)?;
    refuse_existing(&plan)?;
    fs::create_dir_all(&request.to).map_err(failed(&request.to))?;
    let expected = plan.files.iter().map(|file| file.source_bytes).sum();
    request.progress.expect_bytes(expected);
    let mut outcome = ExportOutcome {
        point: plan.point.clone(),
        to: plan.to.clone(),
        files: Vec::new(),
        failed: Vec::new(),
        left_out: plan.left_out.clone(),
        manifest: plan.manifest.clone(),
        took: clock.elapsed(),
    };
    let writing = Writing {
        vault,
        index: &index,
        snapshot: &snapshot,
        request,
    };
    for file in &plan.files {
        match writing.write(file, &mut outcome.left_out) {
            Ok(written) => outcome.files.push(written),
            Err(error) if is_of_vault(&error) => outcome.failed.push(FailedFile {
                name: file.name.clone(),
                reason: rekindle_datasets::with_causes(&error),
            }),
            Err(error) => return Err(failed(&request.to.join(&file.name))(error)),
        }
    }
    let path = request.to.join(&plan.manifest);
    durable::create(&path, text(&plan, &outcome).as_bytes(), 0o600).map_err(failed(&path))?;
    outcome.took = clock.elapsed();
    Ok(outcome)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RecoveryError + use<> {
    let path = path.to_owned();
    move |source| RecoveryError::Export { path, source }
}

/// What cannot be read does not keep the rest from being written; what cannot be written does.
fn is_of_vault(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<VaultError>() || inner.is::<NotRead>())
}

/// Something about the content of a file that is no error of the disk that it is written to.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotRead(String);

struct Writing<'a> {
    vault: &'a Vault,
    index: &'a Index,
    snapshot: &'a Snapshot,
    request: &'a ExportRequest,
}

impl Writing<'_> {
    fn write(&self, file: &PlannedFile, left_out: &mut Vec<String>) -> io::Result<ExportedFile> {
        let node = self
            .vault
            .find_node(self.index, self.snapshot, &file.tree_path)
            .map_err(io::Error::other)?
            .ok_or_else(|| io::Error::other(NotRead("it is not in the point".to_owned())))?;
        let mut sink = Sink::create(&self.request.to, &file.name)?;
        match file.form {
            ExportForm::AsStored => {
                self.copy(&node, &mut sink)?;
            }
            ExportForm::Tar => {
                let gzip = GzEncoder::new(sink, Compression::default());
                let mut tar = TarWriter::new(self.vault, self.index, &self.request.progress, gzip);
                tar.add(Path::new("."), &node)?;
                let (gzip, missing) = tar.finish()?;
                left_out.extend(missing);
                sink = gzip.finish()?;
            }
            ExportForm::PlainSql => self.as_sql(&node, &mut sink)?,
        }
        sink.finish(&file.what)
    }

    fn copy(&self, node: &Node, out: &mut impl Write) -> io::Result<()> {
        let mut content = self.vault.file_reader(self.index, node);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = content.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            out.write_all(&buffer[..count])?;
            self.request.progress.did_bytes(count as u64);
        }
    }

    /// Through `pg_restore`, which is fed while its output is written.
    fn as_sql(&self, node: &Node, sink: &mut Sink) -> io::Result<()> {
        let not_read = |text: String| io::Error::other(NotRead(text));
        let tools = Tools::newest(None)
            .ok_or_else(|| not_read("there is no pg_restore on this machine".to_owned()))?;
        let mut child = Command::new(tools.bin_dir().join("pg_restore"))
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (fed, copied, said) = thread::scope(|scope| {
            let feeding = scope.spawn(|| {
                let mut input = input.ok_or(io::ErrorKind::BrokenPipe)?;
                self.copy(node, &mut input)
            });
            let reading = scope.spawn(|| {
                let mut said = String::new();
                let errors = errors.map(|errors| errors.take(64 << 10).read_to_string(&mut said));
                drop(errors);
                said
            });
            let copied = output.map_or(Ok(0), |mut output| io::copy(&mut output, sink));
            let panicked = |_| io::Error::other("a thread panicked");
            let fed = feeding.join().map_err(panicked).and_then(|fed| fed);
            (fed, copied, reading.join().unwrap_or_default())
        });
        let status = child.wait()?;
        copied?;
        match fed {
            // It says itself why it hung up.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe || status.success() => {
                Err(error)
            }
            _ if status.success() => Ok(()),
            _ => Err(not_read(format!("pg_restore failed: {}", said.trim()))),
        }
    }
}

/// For people, on the day when they have nothing else.
fn text(plan: &ExportPlan, outcome: &ExportOutcome) -> String {
    let point = &plan.point;
    let time = point.time.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut text = format!(
        "Recovery point {} of {time}, made on {}.\nAll times in names are UTC. Check the files with: sha256sum --check *.sha256\n\n",
        point.id, point.host
    );
    // Writing to a `String` cannot fail.
    if !outcome.failed.is_empty() {
        text += "THIS EXPORT IS NOT WHOLE. These could not be read in the vault:\n\n";
        for file in &outcome.failed {
            writeln!(text, "{}\n  {}", file.name, file.reason).unwrap_or_default();
        }
        text += "\n";
    }
    for file in &outcome.files {
        let how = plan
            .files
            .iter()
            .find(|planned| planned.name == file.name)
            .map(how_back)
            .unwrap_or_default();
        writeln!(
            text,
            "{}\n  {}\n  {} bytes, SHA-256 {}\n  {how}\n",
            file.name, file.what, file.bytes, file.sha256
        )
        .unwrap_or_default();
    }
    if !outcome.left_out.is_empty() {
        text += "Not in these files:\n";
        for what in &outcome.left_out {
            writeln!(text, "  {what}").unwrap_or_default();
        }
    }
    text
}

fn how_back(file: &PlannedFile) -> String {
    let name = &file.name;
    let is = |ending: &str| name.ends_with(ending);
    if file.form == ExportForm::Tar {
        format!("unpack as root: tar --xattrs --xattrs-include='*' -xpzf {name} -C DIR")
    } else if is(".sql") {
        format!("load: psql -X -v ON_ERROR_STOP=1 -f {name} DATABASE")
    } else if is(".dump") && file.tree_path.contains("/meilisearch/") {
        format!("import into an empty server: meilisearch --import-dump {name}")
    } else if is(".dump") || is(".tar") {
        format!("load: pg_restore --exit-on-error -d DATABASE {name}")
    } else if is(".rdb") {
        "put it into the server's directory as dump.rdb, with appendonly off, and start it"
            .to_owned()
    } else {
        "as it is".to_owned()
    }
}
