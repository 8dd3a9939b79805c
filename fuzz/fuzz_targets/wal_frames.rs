#![no_main]
rekindle_fuzz::vault_target!("wal_frames");
