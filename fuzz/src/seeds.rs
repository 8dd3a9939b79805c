//! Writes what fuzzers begin with: real bytes, one folder for each fuzzer, in `$REKINDLE_FUZZ_SEEDS`. A fuzzer itself, since all
//! that is linked here is instrumented.
#![allow(unreachable_code, reason = "the macro expects to go on after what it is told to do first")]
#![no_main]

use std::{env, fs, io, path::Path};

libfuzzer_sys::fuzz_target!(
    init: {
        write_all().expect("the seeds are written");
        std::process::exit(0);
    },
    |_bytes: &[u8]| {}
);

const PLAIN: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n-- Dumped from database version 15.14\n-- Dumped by pg_dump version 17.6\n\n\
SET statement_timeout = 0;\nSET client_encoding = 'UTF8';\nSELECT pg_catalog.set_config('search_path', '', false);\n\n\
CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;\nCREATE SCHEMA s;\nALTER SCHEMA s OWNER TO someone;\n\
CREATE FUNCTION s.f() RETURNS text LANGUAGE sql AS $_$ select 'a;b' || $$x$$ $_$;\n\
CREATE TABLE s.t (\n    id integer NOT NULL,\n    \"odd \"\"name\" text DEFAULT E'it\\'s'\n);\n\n\
COPY s.t (id, \"odd \"\"name\") FROM stdin;\n1\tone\n2\t\\N\n\\.\n\n/* a /* nested */ comment */\nINSERT INTO s.t VALUES (3, 'three');\n\
\\unrestrict x\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
const MYSQL: &str = "-- MySQL dump 10.13\n/*!40101 SET NAMES utf8 */;\nCREATE TABLE `t` (`a` int) ENGINE=InnoDB;\n-- Dump completed\n";

fn write_all() -> io::Result<()> {
    let folder = env::var_os("REKINDLE_FUZZ_SEEDS").ok_or(io::ErrorKind::NotFound)?;
    let folder = Path::new(&folder);
    let seeds = rekindle_vault::fuzzing::corpus().map_err(io::Error::other)?;
    for (number, (target, bytes)) in seeds.iter().enumerate() {
        write(folder, target, number, bytes)?;
    }
    for (number, (target, bytes)) in postgres().iter().enumerate() {
        write(folder, target, number, bytes)?;
    }
    Ok(())
}

fn write(folder: &Path, target: &str, number: usize, bytes: &[u8]) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("seed-{number}")), bytes)
}

fn postgres() -> Vec<(&'static str, Vec<u8>)> {
    let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000060\tbefore 2026-01-01\n";
    let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n\
BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-21 10:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\n";
    let mut page = 0xD110_u16.to_le_bytes().to_vec();
    page.extend([2, 0, 1, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0]);
    page.resize(24, 0);
    page.extend(42_u64.to_le_bytes());
    page.extend((1_u32 << 20).to_le_bytes());
    page.extend((8_u32 << 10).to_le_bytes());
    page.resize(16 << 10, 0);
    // Version 1.15, sizes of integers and offsets, format 1; then compression and the time.
    let toc = b"PGDMP\x01\x0f\x00\x04\x08\x01\x00\x01\x00\x00\x00\x00";
    // A commit with its time, and an insertion with one block.
    let commit = b"\x01\x00\xff\x08\x00\x00\x10\x00\x00\x00\x00\x02";
    let insert = b"\x0a\x00\x00\x20\x04\x00\x7f\x06\x00\x00\x05\x00\x00\x00\x00\x40\x00\x00\x07\x00\x00\x00\xff\x03abcdxyz";
    vec![
        ("pg_dump", PLAIN.as_bytes().to_vec()),
        ("pg_dump", MYSQL.as_bytes().to_vec()),
        ("pg_dump", toc.to_vec()),
        ("pg_dump_toc", toc.to_vec()),
        ("pg_layout", history.as_bytes().to_vec()),
        ("pg_layout", label.as_bytes().to_vec()),
        ("pg_layout", b"16384 /srv/a\\ b\n16385 /srv/c\n".to_vec()),
        ("pg_layout", b"000000010000000000000003".to_vec()),
        ("pg_wal", page),
        ("pg_wal_record", commit.to_vec()),
        ("pg_wal_record", insert.to_vec()),
        ("pg_control", vec![0; 8192]),
    ]
}
