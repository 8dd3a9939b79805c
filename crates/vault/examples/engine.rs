//! The engine alone, for benchmarks and profiles: no configuration, no services.
//!
//! `engine init VAULT`, `engine backup VAULT DIR [pages]`, `engine restore VAULT DIR`,
//! `engine check VAULT`, `engine copy VAULT VAULT`, `engine forget VAULT` (all but the newest), `engine prune VAULT` (at once,
//! to 5 % of waste), `engine parity VAULT PERCENT`, `engine heal VAULT`. The password is `bench`; `THREADS` restore, and
//! pages are cut every `CHUNK_KIB`.

#![allow(clippy::print_stderr, reason = "an example talks to whoever runs it")]

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rekindle_vault::{
    BackupOptions, Chunking, CopyOptions, Grace, HealOptions, LocalFile, LocalTree, Node, NodeKind,
    ParityScheme, Password, Progress, PruneOptions, RestoreOptions, SnapshotDraft, Thoroughness,
    TreePath, Vault, WhenMissing, store::LocalStore,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let password = Password::new("bench");
    let store = Arc::new(LocalStore::new(arguments.get(1).ok_or("which vault?")?));
    let started = Instant::now();
    match arguments[..] {
        ["init", _] => drop(Vault::create(store, &password)?),
        ["backup", _, source] => backup(&Vault::open(store, &password)?, source, false)?,
        ["backup", _, source, "pages"] => backup(&Vault::open(store, &password)?, source, true)?,
        ["restore", _, target] => {
            let vault = Vault::open(store, &password)?;
            let snapshot = vault.find_snapshot("latest")?;
            let threads = env::var("THREADS").ok().and_then(|text| text.parse().ok());
            let options = RestoreOptions {
                threads,
                ..RestoreOptions::default()
            };
            vault.restore(&snapshot, &TreePath::root(), Path::new(target), &options)?;
        }
        ["check", _] => {
            let vault = Vault::open(store, &password)?;
            let report = vault.check(Thoroughness::AllData, &Arc::new(Progress::default()))?;
            assert!(report.is_whole(), "{report:?}");
        }
        ["forget", _] => {
            let vault = Vault::open(store, &password)?;
            let newest = vault.find_snapshot("latest")?.id;
            let old = vault.snapshots()?.into_iter().map(|point| point.id);
            vault.forget(&old.filter(|id| *id != newest).collect::<Vec<_>>())?;
        }
        ["prune", _] => {
            let vault = Vault::open(store, &password)?;
            let options = PruneOptions {
                grace: Grace::None,
                ..PruneOptions::default()
            };
            let report = vault.prune(&options, &Arc::default())?;
            let (packed, removed) = (report.repacked_bytes, report.removed_bytes);
            eprintln!("{packed} bytes packed anew, {removed} removed");
        }
        ["parity", _, percent] => {
            let vault = Vault::open(store, &password)?;
            let scheme = ParityScheme::of_percent(percent.parse()?);
            let report = vault.update_parity(scheme, &Arc::default())?;
            eprintln!("{report:?} {:?}", vault.parity_status()?);
        }
        ["heal", _] => {
            let report = Vault::open(store, &password)?.heal(&[], &HealOptions::default())?;
            eprintln!("{:?}", report.parity);
            assert!(report.is_whole(), "{report:?}");
        }
        ["copy", _, to] => {
            let vault = Vault::open(store, &password)?;
            let to = Vault::open(Arc::new(LocalStore::new(to)), &password)?;
            let (snapshots, progress) = (vault.snapshots()?, Arc::default());
            let report =
                vault.copy_snapshots_to(&to, &snapshots, &CopyOptions::default(), &progress)?;
            assert!(report.is_complete(), "{report:?}");
            eprintln!(
                "{} snapshots, {} bytes",
                report.copied.len(),
                report.stored_bytes
            );
        }
        _ => return Err("see the first lines of this example".into()),
    }
    eprintln!("{:.2} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn backup(vault: &Vault, source: &str, pages: bool) -> Result<(), Box<dyn Error>> {
    let parent = vault.find_snapshot("latest").ok();
    let mut backup = vault.start_backup(BackupOptions {
        parent,
        ..BackupOptions::default()
    })?;
    if pages {
        add_as_pages(&mut backup, PathBuf::from(source))?;
    } else {
        let at = TreePath::root();
        backup.add_local_tree(&LocalTree {
            source: source.into(),
            at,
            leave_out: &|_| false,
        })?;
    }
    let snapshot = backup.finish(SnapshotDraft::default())?;
    eprintln!("{} {:?}", snapshot.id.short(), snapshot.stored.summary);
    Ok(())
}

fn add_as_pages(backup: &mut rekindle_vault::Backup, root: PathBuf) -> Result<(), Box<dyn Error>> {
    let chunk = env::var("CHUNK_KIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(64);
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let at = TreePath::new(
                entry
                    .path()
                    .strip_prefix(&root)?
                    .as_os_str()
                    .as_encoded_bytes(),
            )?;
            let node = Node::of_metadata(&metadata);
            match node.kind {
                NodeKind::Dir => {
                    backup.add_node(&at, node)?;
                    directories.push(entry.path());
                }
                NodeKind::File => {
                    let file = LocalFile {
                        source: entry.path(),
                        node,
                        most_bytes: metadata.len(),
                        chunking: Chunking::Fixed { bytes: chunk << 10 },
                        when_missing: WhenMissing::LeaveOut,
                        inspect: None,
                    };
                    backup.add_local_file(at, file)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}
