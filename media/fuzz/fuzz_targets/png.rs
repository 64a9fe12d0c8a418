#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(b"\x89PNG\r\n\x1a\n", 0, data));
