//! What a client decodes, told from the kind of client that its User-Agent shows. Only what is known not to play is held against one: a
//! client that is not known decodes everything.
//!
//! Sources: the support tables of MDN ("Web video codec guide", "Web audio codec guide") and Apple's HLS authoring specification 1.5 and 2.
//!
//! What it deliberately does not do: tell versions or hardware apart. Chromium decodes H.265 where the system does, so on Linux it is taken not to.
#![forbid(unsafe_code)]

use super::headers::CodecSet;
use crate::es::Codec;

/// The codecs that a client of this kind decodes.
pub(super) fn of(rule: &str, lower_case_agent: &[u8]) -> CodecSet {
    let has = |text: &str| memchr::memmem::find(lower_case_agent, text.as_bytes()).is_some();
    let is_apple = has("iphone") || has("ipad") || matches!(rule, "Safari" | "AppleCoreMedia" | "Apple app");
    match rule {
        _ if is_apple => APPLE.iter().copied().collect(),
        "Firefox" => BROWSER.iter().copied().collect(),
        "Samsung Internet" | "Edge" | "Opera" | "Chrome" | "WebKit" => {
            let with_h265 = has("windows") || has("macintosh") || has("android");
            BROWSER.iter().copied().chain(with_h265.then_some(Codec::H265)).collect()
        }
        _ => everything(),
    }
}

/// Every set that [`of`] can give.
pub(super) fn classes() -> impl Iterator<Item = CodecSet> {
    let browser = || BROWSER.iter().copied();
    let sets = [APPLE.iter().copied().collect(), browser().collect(), browser().chain([Codec::H265]).collect()];
    sets.into_iter().chain([everything()])
}

pub(super) fn everything() -> CodecSet {
    Codec::ALL.into_iter().collect()
}

const BROWSER: &[Codec] =
    &[Codec::H264, Codec::Av1, Codec::Vp9, Codec::Vp8, Codec::Aac, Codec::Mp3, Codec::Opus, Codec::Flac];

const APPLE: &[Codec] = &[
    Codec::H264,
    Codec::H265,
    Codec::Av1,
    Codec::Vp9,
    Codec::Aac,
    Codec::Mp3,
    Codec::Ac3,
    Codec::Eac3,
    Codec::Opus,
    Codec::Flac,
];
