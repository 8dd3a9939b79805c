use std::time::Duration;

use rekindle_datasets::redis::RedisError;
use rekindle_datasets::{CaptureError, with_causes};
use rekindle_testing::faults::{Direction, Fault, Proxy};
use rekindle_testing::redis::{Flavour, Redis};
use rekindle_testing::temp_dir;

use super::common::{capture, described, new_vault};

fn redis_error(error: &CaptureError) -> &RedisError {
    match error {
        CaptureError::Redis { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_password_is_told_without_it() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour).password("right").start().unwrap();
        for login in [":hunter2@", "nobody:hunter2@", ""] {
            let url = format!("redis://{login}127.0.0.1:{}", redis.port());
            let error = capture(&vault, &described(&url, "", dir.path()))
                .err()
                .unwrap();
            let text = format!("{} {error:?}", with_causes(&error));
            assert!(!text.contains("hunter2"), "{text}");
            assert!(error.hint().unwrap().contains("password_file"), "{text}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_or_stalls_is_no_recovery_point() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let redis = Redis::builder(flavour).start().unwrap();
        redis.fill().unwrap();
        let proxy = Proxy::to(redis.port()).unwrap();
        let url = format!("redis://127.0.0.1:{}", proxy.port());
        for after in [2_000, 100_000, 300_000] {
            let direction = Direction::Down;
            for reset in [false, true] {
                proxy.set(Fault::Cut {
                    direction,
                    after,
                    reset,
                });
                let error = capture(&vault, &described(&url, "", dir.path()))
                    .err()
                    .unwrap();
                let found = redis_error(&error);
                assert!(
                    matches!(found, RedisError::Gone { .. }),
                    "{after}: {found:?}"
                );
            }
            proxy.set(Fault::Stall { direction, after });
            let impatient =
                described(&url, "", dir.path()).with_quiet_limit(Duration::from_millis(500));
            let error = capture(&vault, &impatient).err().unwrap();
            let found = redis_error(&error);
            assert!(
                matches!(found, RedisError::Silent { .. }),
                "{after}: {found:?}"
            );
        }
        assert!(vault.snapshots().unwrap().is_empty());
        proxy.set(Fault::None);
        capture(&vault, &described(&url, "", dir.path())).unwrap();
    }
}

#[test]
fn append_only_files_of_another_server_are_not_taken_for_this_ones() {
    for flavour in Flavour::available() {
        let dir = temp_dir().unwrap();
        let vault = new_vault(&dir.path().join("vault"));
        let aof = |flavour| {
            Redis::builder(flavour)
                .setting("appendonly", "yes")
                .start()
                .unwrap()
        };
        let (redis, other) = (aof(flavour), aof(flavour));
        redis.fill().unwrap();
        let url = format!("redis://127.0.0.1:{}", redis.port());
        let more = format!(
            ", include: [aof], data_directory: \"{}\"",
            other.data_dir().display()
        );
        let error = capture(&vault, &described(&url, &more, dir.path()))
            .err()
            .unwrap();
        let found = redis_error(&error);
        assert!(matches!(found, RedisError::Files { .. }), "{found:?}");
        assert!(error.hint().unwrap().contains("data_directory"));
        let off = Redis::builder(flavour).start().unwrap();
        let url = format!("redis://127.0.0.1:{}", off.port());
        let described = described(&url, ", include: [aof]", dir.path());
        let error = capture(&vault, &described).err().unwrap();
        assert!(
            matches!(redis_error(&error), RedisError::NoAppendOnly),
            "{error:?}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_a_hint() {
    let dir = temp_dir().unwrap();
    let vault = new_vault(&dir.path().join("vault"));
    let port = rekindle_testing::free_port().unwrap();
    let url = format!("redis://127.0.0.1:{port}");
    let error = capture(&vault, &described(&url, "", dir.path()))
        .err()
        .unwrap();
    assert!(matches!(redis_error(&error), RedisError::Unreachable(_)));
    assert!(error.hint().unwrap().contains("running"));
}
