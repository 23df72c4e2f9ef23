//! Placeholder until the table is merged.

/// RFC 5646 tag.
pub fn tag(_code: [u8; 3]) -> Option<&'static str> {
    None
}
/// English name.
pub fn name(_code: [u8; 3]) -> Option<&'static str> {
    None
}
