//! Each operation of the store fails in turn: nothing half-written counts, and trying again works.

use super::*;

const FAULTS: [Fault; 3] = [
    Fault::Refused(ErrorKind::Other),
    Fault::Refused(ErrorKind::StorageFull),
    Fault::LostAcknowledgement,
];

/// What is done in the archive, with the fault at each operation of the store in turn. `done` gets
/// the archive without the fault, and what came of the work. Only segment 1 is there before.
fn at_every_operation<T>(
    work: impl Fn(&WalArchive) -> Result<T, WalArchiveError>,
    done: impl Fn(&WalArchive, Fault, Result<T, WalArchiveError>),
) {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = Vault::create(Arc::clone(&inner), &password()).unwrap();
    let healthy = vault.wal_archive().unwrap();
    for (fault, and_later) in FAULTS
        .into_iter()
        .flat_map(|fault| [(fault, false), (fault, true)])
    {
        let never = u64::MAX;
        let faulty = Arc::new(if and_later {
            FaultyStore::failing_from(Arc::clone(&inner), never, fault)
        } else {
            FaultyStore::failing_once(Arc::clone(&inner), never, fault)
        });
        let store = Arc::clone(&faulty) as Arc<dyn Store>;
        let archive = Vault::open(store, &password())
            .unwrap()
            .wal_archive()
            .unwrap();
        let mut failures = 0;
        for at in 0.. {
            for listed in healthy.list(SYSTEM).unwrap() {
                healthy.delete(&listed.file).unwrap();
            }
            put(&healthy, &segment(1), b"was there").unwrap();
            faulty.restart(at);
            let outcome = work(&archive);
            let is_over = faulty.operations() <= at;
            assert!(outcome.is_ok() || !is_over, "{fault:?} at {at}");
            if let Err(error) = &outcome {
                assert!(
                    error.is_retryable() && error.store_kind().is_some(),
                    "{error}"
                );
                failures += 1;
            }
            done(&healthy, fault, outcome);
            if is_over {
                break;
            }
        }
        assert!(failures > 1, "some failure is not healed: {fault:?}");
    }
}

#[test]
fn whatever_fails_while_archiving_a_file_is_there_whole_or_not_at_all() {
    let plain = content(1, 100_000);
    at_every_operation(
        |archive| put(archive, &segment(2), &plain),
        |healthy, fault, outcome| {
            let found = healthy.get(&segment(2)).unwrap();
            assert!(found.is_none() || found.as_deref() == Some(&plain));
            match (outcome, fault) {
                (Ok(put), _) => assert!(found.is_some() && put == WalPut::Stored),
                (Err(_), Fault::Refused(_)) => assert!(found.is_none()),
                (Err(_), Fault::LostAcknowledgement) => {}
            }
            let again = put(healthy, &segment(2), &plain).unwrap();
            assert_eq!(again == WalPut::AlreadyThere, found.is_some());
        },
    );
}

#[test]
fn whatever_fails_while_archiving_a_group_each_file_is_told_truly() {
    let numbers = [1, 2, 3, 4];
    at_every_operation(
        |archive| {
            let group = numbers.map(|number| sealed(archive, &segment(number), b"was there"));
            archive
                .put_all(group.into())
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
        },
        |healthy, fault, outcome| {
            let is_there = numbers.map(|number| healthy.get(&segment(number)).unwrap().is_some());
            if let Ok(puts) = &outcome {
                assert_eq!(is_there, [true; 4]);
                assert_eq!(puts[0], WalPut::AlreadyThere);
                assert_eq!(puts[1..], [WalPut::Stored; 3]);
            }
            let group = numbers.map(|number| sealed(healthy, &segment(number), b"was there"));
            for (put, was_there) in healthy.put_all(group.into()).into_iter().zip(is_there) {
                let put = put.unwrap();
                assert_eq!(
                    put == WalPut::AlreadyThere,
                    was_there,
                    "{fault:?} {outcome:?}"
                );
            }
        },
    );
}

#[test]
fn whatever_fails_while_a_partial_is_replaced_the_old_or_the_new_one_stands() {
    let partial = file("000000010000000000000001.partial");
    let frames = [b"first ", b"second"].map(|part| wal_frame(part, WalEffort::Fast));
    at_every_operation(
        |archive| {
            archive.replace_partial(&partial, &[&frames[0]])?;
            archive.replace_partial(&partial, &[&frames[0], &frames[1]])
        },
        |healthy, _, outcome| {
            let found = healthy.get(&partial).unwrap();
            match found.as_deref() {
                Some(b"first second") => {}
                None | Some(b"first ") => assert!(outcome.is_err()),
                other => panic!("{other:?}"),
            }
        },
    );
}

#[test]
fn whatever_fails_while_reading_is_an_error_and_never_absence() {
    at_every_operation(
        |archive| {
            let found = archive.get(&segment(1))?;
            let listed = archive.list(SYSTEM)?;
            Ok((found, listed.len(), archive.get(&segment(9))?))
        },
        |_, _, outcome| {
            if let Ok(found) = outcome {
                assert_eq!(found, (Some(b"was there".to_vec()), 1, None));
            }
        },
    );
}

#[test]
fn a_full_disk_keeps_what_fitted_and_tells_the_rest() {
    let Some(disk) = skip::unless_available(SmallDisk::new(4)) else {
        return;
    };
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(disk.path().join("vault")));
    let archive = Vault::create(store, &password())
        .unwrap()
        .wal_archive()
        .unwrap();
    let plain = |number| Random::new(number).bytes(600_000);
    let group = |numbers: std::ops::Range<u32>| -> Vec<_> {
        numbers
            .map(|n| sealed(&archive, &segment(n), &plain(n.into())))
            .collect()
    };
    let outcomes = archive.put_all(group(0..12));
    let mut stored = 0;
    for (number, outcome) in (0..).zip(outcomes) {
        let found = archive.get(&segment(number)).unwrap();
        match outcome {
            Ok(put) => {
                assert!(put == WalPut::Stored && found.unwrap() == plain(number.into()));
                stored += 1;
            }
            Err(error) => {
                assert_eq!(error.store_kind(), Some(StoreErrorKind::NoSpace), "{error}");
                assert!(error.is_retryable() && error.hint().is_some() && found.is_none());
            }
        }
    }
    assert!((1..12).contains(&stored), "{stored}");
    assert_eq!(
        archive.list(SYSTEM).unwrap().len(),
        stored,
        "nothing else was left"
    );
    for listed in archive.list(SYSTEM).unwrap() {
        archive.delete(&listed.file).unwrap();
    }
    assert!(
        archive.put_all(group(20..22)).iter().all(Result::is_ok),
        "room helps"
    );
}
