//! The fixture of Redis and Valkey.

use rekindle_testing::redis::{FILLED, Flavour, Redis, Value};

#[test]
fn each_flavour_starts_holds_every_type_and_keeps_it_over_a_restart() {
    for flavour in Flavour::available() {
        let mut redis = Redis::builder(flavour)
            .setting("appendonly", "yes")
            .start()
            .unwrap();
        redis.fill().unwrap();
        let before = redis.content().unwrap();
        for (database, keys) in FILLED {
            let expected = format!("db{database}: Some(Int({keys}))");
            assert!(
                before.contains(&expected),
                "{flavour}: {expected} in {before:?}"
            );
        }
        redis.stop().unwrap();
        redis.start().unwrap();
        assert_eq!(redis.content().unwrap(), before, "{flavour}");
        redis.call("SET another key").unwrap();
        assert_ne!(redis.content().unwrap(), before, "{flavour}");
    }
}

#[test]
fn a_password_is_demanded_of_others() {
    for flavour in Flavour::available() {
        let redis = Redis::builder(flavour).password("hunter2").start().unwrap();
        let mut stranger = rekindle_testing::redis::Connection::open(redis.port()).unwrap();
        let answer = stranger.call(&[b"DBSIZE"]).unwrap();
        assert!(matches!(answer, Value::Error(_)), "{flavour}: {answer:?}");
        assert_eq!(redis.call("DBSIZE").unwrap(), Value::Int(0));
    }
}
