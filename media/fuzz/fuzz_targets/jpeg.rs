#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(b"\xff\xd8\xff", 0, data));
