//! `kill -9` at random moments: files are there whole or not at all.

use super::*;

const CHILD_VAULT: &str = "REKINDLE_WAL_CHILD_VAULT";

fn groups(number: u32) -> Vec<(WalFile, Vec<u8>)> {
    let one = |n| {
        (
            segment(number * 10 + n),
            content(u64::from(number * 10 + n), 300_000),
        )
    };
    (0..10).map(one).collect()
}

/// The child's part of the next test; in an ordinary run it has nothing to do.
#[test]
fn child_that_archives_until_it_is_killed() {
    let Ok(dir) = env::var(CHILD_VAULT) else {
        return;
    };
    let vault = Vault::open(Arc::new(LocalStore::new(dir)), &password()).unwrap();
    let archive = vault.wal_archive().unwrap();
    let first = archive.list(SYSTEM).unwrap().len() as u32 / 10;
    println!("ready");
    for number in first.. {
        let group = groups(number);
        let group = group
            .iter()
            .map(|(file, plain)| sealed(&archive, file, plain))
            .collect();
        let outcomes = archive.put_all(group);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        println!("durable {number}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_killed_group_leaves_whole_files_and_loses_none_that_was_told_durable() {
    let place = Place::new();
    place.create().wal_archive().unwrap();
    let mut random = random();
    let mut told = None;
    for round in 0..6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "killed::child_that_archives_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD_VAULT, place.vault_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap().ends_with("ready")));
        thread::sleep(Duration::from_millis(random.below(120)));
        child.kill().unwrap();
        assert!(
            !child.wait().unwrap().success(),
            "it ran until it was killed"
        );
        for line in lines {
            let number = line
                .unwrap()
                .strip_prefix("durable ")
                .map(|n| n.parse::<u32>().unwrap());
            told = told.max(number);
        }
        let archive = place.open().wal_archive().unwrap();
        let listed = archive.list(SYSTEM).unwrap();
        let durable = told.map_or(0, |number| (number as usize + 1) * 10);
        assert!(
            listed.len() >= durable,
            "round {round}: {} of {durable}",
            listed.len()
        );
        // The interrupted group is archived again, and all of it is as it should be.
        let number = (durable / 10) as u32;
        for (file, plain) in groups(number) {
            let found = archive.get(&file).unwrap();
            assert!(found.is_none() || found.as_ref() == Some(&plain), "{file}");
            put(&archive, &file, &plain).unwrap();
        }
        told = Some(number);
    }
    let report = check(&place.open(), Thoroughness::AllData);
    assert!(
        report.problems.is_empty(),
        "nothing is left behind: {:?}",
        report.problems
    );
    assert_eq!(report.wal_files % 10, 0);
}
