#![no_main]
rekindle_fuzz::vault_target!("pack");
