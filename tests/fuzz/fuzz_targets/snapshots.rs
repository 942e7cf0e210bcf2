//! The loader's parsers of what iterators and the kernel's types tell.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentinel_fuzz::bounded(data, sentinel_fuzz::snapshots));
