#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(b"ftyp", 4, data));
