use std::io;

use super::*;

/// Strings, expiry, two databases, functions, and the checksum that belongs to it.
fn made() -> Vec<u8> {
    let mut rdb = b"REDIS0010".to_vec();
    rdb.extend(b"\xfa\x05ctime\xc2\x9d\xec\x01k\xfa\x09redis-ver\x057.0.0");
    rdb.extend(b"\xf5\x03lib");
    rdb.extend(b"\xfe\x00\xfb\x02\x01\x00\x01a\x01b");
    rdb.extend(b"\xfc\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01c\xc3\x02\x05xx");
    rdb.extend(b"\xfe\x03\xfb\x01\x00\x02\x01s\x02\x01x\xc0\x07");
    rdb.push(0xff);
    sealed(rdb)
}

fn sealed(mut rdb: Vec<u8>) -> Vec<u8> {
    let crc = crc::crc64(0, &rdb);
    rdb.extend(crc.to_le_bytes());
    rdb
}

fn read(bytes: &[u8]) -> Result<RdbSummary, RdbError> {
    read_rdb(&mut &bytes[..], &mut io::sink())
}

#[test]
fn keys_are_counted_by_database() {
    let summary = read(&made()).unwrap();
    assert_eq!(summary.version.to_string(), "RDB version 10");
    assert_eq!(summary.bytes, made().len() as u64);
    assert_eq!(summary.functions, 1);
    assert_eq!(summary.created, Some(0x6b01_ec9d));
    assert_eq!(summary.written_by.as_deref(), Some("7.0.0"));
    let counted: Vec<_> = summary
        .databases
        .iter()
        .map(|counts| {
            (
                counts.database,
                counts.keys,
                counts.expiring,
                counts.expired,
            )
        })
        .collect();
    assert_eq!(counted, [(0, 2, 1, 1), (3, 1, 0, 0)]);
    assert_eq!(summary.remarks(), Vec::<String>::new());
}

#[test]
fn every_byte_is_passed_on() {
    let mut copy = Vec::new();
    read_rdb(&mut made().as_slice(), &mut copy).unwrap();
    assert_eq!(copy, made());
}

#[test]
fn a_cut_anywhere_is_refused() {
    let whole = made();
    for length in 0..whole.len() {
        read(&whole[..length]).unwrap_err();
    }
}

#[test]
fn any_flipped_bit_is_refused() {
    let whole = made();
    for place in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        assert!(read(&damaged).is_err(), "bit {place}");
    }
}

#[test]
fn without_a_checksum_it_is_read_and_said() {
    let mut rdb = made();
    let length = rdb.len();
    rdb[length - 8..].fill(0);
    let summary = read(&rdb).unwrap();
    assert_eq!(summary.checksum, None);
    assert!(summary.remarks()[0].contains("rdbchecksum no"));
}

#[test]
fn what_is_unknown_is_not_counted_but_still_checked() {
    let mut rdb = b"REDIS0099\xfe\x00\xfb\x02\x00\x00\x01a\x01b\x63\x01cwhatever".to_vec();
    rdb.extend(vec![7; 1_000_000]);
    rdb.push(0xff);
    let whole = sealed(rdb);
    let summary = read(&whole).unwrap();
    assert_eq!(
        summary.unknown.as_deref(),
        Some("a value of type 99 at byte 19")
    );
    assert_eq!(summary.keys(), 1);
    assert_eq!(summary.bytes, whole.len() as u64);
    assert!(!summary.is_counted());
    let mut damaged = whole.clone();
    damaged[500_000] ^= 1;
    assert!(matches!(read(&damaged), Err(RdbError::Checksum { .. })));
    assert!(matches!(
        read(&whole[..whole.len() - 1]),
        Err(RdbError::Checksum { .. })
    ));
}

#[test]
fn what_follows_is_refused() {
    let mut rdb = made();
    rdb.push(b'x');
    assert!(matches!(read(&rdb), Err(RdbError::Trailing { .. })));
}

#[test]
fn what_is_none_is_said_to_be_none() {
    for bytes in [&b""[..], b"REDIS", b"PGDMP....", b"REDISabcd"] {
        assert!(matches!(read(bytes), Err(RdbError::NotRdb)), "{bytes:?}");
    }
}
