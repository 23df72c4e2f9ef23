//! What several test programs share.
#![allow(dead_code)]

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
