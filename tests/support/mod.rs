//! What several test programs share.
#![allow(dead_code)]

#[cfg(feature = "libav")]
pub mod first_key;
#[cfg(feature = "libav")]
pub mod hls;
#[cfg(feature = "libav")]
pub mod http;
#[cfg(feature = "libav")]
pub mod origin;
#[cfg(feature = "libav")]
pub mod presentation;
#[cfg(feature = "libav")]
pub mod relay;

use loadtest::tscheck::{self, Report};
use std::path::Path;

/// Compares with `tests/golden/{name}`, or writes it when MILLRACE_BLESS=1.
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("MILLRACE_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "tests/golden/{name} differs; MILLRACE_BLESS=1 rewrites it");
}

/// Judges a stream up to its last PCR: behind it the checker can but guess at arrival times.
#[track_caller]
pub fn assert_clean(bytes: &[u8], what: &str) -> Report {
    let has_pcr = |packet: &[u8]| packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0;
    let packets = bytes.chunks_exact(188).rposition(has_pcr).expect("a PCR");
    let report = tscheck::check(&bytes[..188 * (packets + 1)]);
    assert!(report.is_clean(), "{what}: {report}");
    report
}

/// Whether tests that take minutes were asked for (MILLRACE_FULL=1); says that one is skipped where not.
pub fn full(what: &str) -> bool {
    let asked = std::env::var_os("MILLRACE_FULL").is_some_and(|v| v == "1");
    if !asked {
        println!("SKIP {what}: set MILLRACE_FULL=1");
    }
    asked
}
