//! Loader → analyzer: frames, kernel records and snapshots, followed by tables and engines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentinel_fuzz::bounded(
    data,
    sentinel_fuzz::loader_frames
));
