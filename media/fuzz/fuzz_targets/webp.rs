#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(b"WEBP", 8, &[b"RIFF", data].concat()));
