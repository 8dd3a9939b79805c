//! Data of every type, and what two servers must have in common to hold the same.

use super::{Redis, Value};
use crate::TestingError;

/// Keys that [`Redis::fill`] puts into the databases 0, 3 and 15.
pub const FILLED: [(u32, usize); 3] = [(0, 1018), (3, 2), (15, 1)];

impl Redis {
    /// Puts keys of every type into three databases: short and long encodings, binary keys, times to
    /// live, a stream with a group, consumers and pending entries; functions where there are any.
    ///
    /// # Errors
    /// [`TestingError::Unexpected`] if the server refuses something.
    pub fn fill(&self) -> Result<(), TestingError> {
        let mut commands = typed();
        commands.extend((0..1000).map(|n| words(&format!("SET key:{n} value-{n}"))));
        // A key made of bytes that mean something to the protocol.
        commands.push(vec![
            b"SET".into(),
            b"bin\r\n\0\xff$3".into(),
            b"\0\r\n\xff".into(),
        ]);
        commands.push(vec![b"SET".into(), b"large".into(), noise(300_000)]);
        commands.push(vec![
            b"SET".into(),
            b"compressible".into(),
            vec![b'a'; 70_000],
        ]);
        commands.extend(
            [
                "SELECT 3",
                "SET in-three 3",
                "SET soon gone",
                // The middle of a minute, so that rounding to minutes is the same everywhere.
                "PEXPIREAT soon 4102444830000",
                "SELECT 15",
                "HSET in-fifteen a b",
                "SELECT 0",
            ]
            .map(words),
        );
        if self.flavour().has_append_directory() {
            let code =
                "#!lua name=lib\nredis.register_function('answer', function() return 42 end)";
            commands.push(
                ["FUNCTION", "LOAD", "REPLACE", code]
                    .map(Into::into)
                    .to_vec(),
            );
        }
        for answer in self.call_all(&commands)? {
            if let Value::Error(found) = answer {
                let what = "every command that fills a server is accepted";
                return Err(TestingError::Unexpected { what, found });
            }
        }
        Ok(())
    }

    /// All that a server holds, so that two of them can be compared: a digest of every key and value, keys per
    /// database, streams with their groups, times at which keys expire, functions.
    ///
    /// # Errors
    /// [`TestingError`] if the server does not answer.
    pub fn content(&self) -> Result<Vec<String>, TestingError> {
        let mut content = vec![self.call("DEBUG DIGEST")?.text()];
        for database in 0..16 {
            let answers =
                self.call_all(&[words(&format!("SELECT {database}")), words("DBSIZE")])?;
            content.push(format!("db{database}: {:?}", answers.last()));
        }
        content.push(format!(
            "{:?}",
            without_memories(&self.call("XINFO STREAM stream FULL")?)
        ));
        content.push(format!("{:?}", self.call("OBJECT ENCODING intset")?));
        for key in ["expiring", "soon"] {
            let when = "return redis.call('pttl', KEYS[1]) + redis.call('time')[1] * 1000 + 500";
            let database = if key == "soon" { 3 } else { 0 };
            let answers = self.call_all(&[
                words(&format!("SELECT {database}")),
                vec![b"EVAL".into(), when.into(), b"1".into(), key.into()],
            ])?;
            if let Some(Value::Int(milliseconds)) = answers.last() {
                content.push(format!("{key} expires at {}", milliseconds / 60_000));
            }
        }
        if self.flavour().has_append_directory() {
            content.push(format!("{:?}", self.call("FUNCTION LIST WITHCODE")?));
        }
        Ok(content)
    }
}

const MEMORIES: [&[u8]; 4] = [b"seen-time", b"active-time", b"entries-read", b"lag"];

fn typed() -> Vec<Vec<Vec<u8>>> {
    let mut commands: Vec<_> = [
        "SELECT 0",
        "SET expiring value",
        "PEXPIREAT expiring 4102444830000",
        "SET number 12345",
        "RPUSH short-list a b c",
        "SADD intset 1 2 3 70000 5000000000",
        "SADD small-set a b c",
        "ZADD small-zset 1.5 a -inf b inf c",
        "HSET small-hash a 1 b 2",
        "PFADD cardinality a b c",
        "SETBIT bits 100000 1",
        "XADD stream 1-1 a 1",
        "XADD stream 2-1 b 2",
        "XADD stream 3-1 c 3",
        "XGROUP CREATE stream readers 0",
        "XREADGROUP GROUP readers alice COUNT 2 STREAMS stream >",
        "XACK stream readers 1-1",
        "XDEL stream 3-1",
    ]
    .map(words)
    .into();
    for n in 0..600 {
        commands.push(words(&format!(
            "RPUSH long-list item-{n}-{}",
            "x".repeat(n % 90)
        )));
        commands.push(words(&format!("SADD large-set member-{n}")));
        commands.push(words(&format!("ZADD large-zset {n}.25 member-{n}")));
        commands.push(words(&format!("HSET large-hash field-{n} value-{n}")));
    }
    commands.push(words("SET float 3.25"));
    commands
}

fn words(command: &str) -> Vec<Vec<u8>> {
    command
        .split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Without when consumers were seen and how much a group has read: a server that replays its append-only
/// file does not know.
fn without_memories(value: &Value) -> Value {
    let mut items = Vec::new();
    for item in value.items() {
        let is_memory =
            matches!(items.last(), Some(Value::Bytes(name)) if MEMORIES.contains(&name.as_slice()));
        items.push(match item {
            Value::List(_) => without_memories(item),
            _ if is_memory => Value::Nil,
            other => other.clone(),
        });
    }
    Value::List(items)
}
