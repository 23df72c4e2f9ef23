//! The page at `/`: its files, embedded in the binary, and the fields that go with them.
//!
//! ```text
//!  src/web/assets   page.html, page.css, *.js, icon.svg: written here, no framework
//!  src/web/players  hls.js, shaka-player, mpegts.js: as npm ships them, with their licences
//!        └─ build.rs: gzip, entity tags ─► ASSETS ─► `/` and `/web/{file}`
//! ```
//! The page asks for `/web/channels.json` ([`crate::api::page_json`]) every two seconds and plays channels from their public URLs,
//! so it knows nothing that any other viewer does not.
//!
//! What it deliberately does not do: answer requests, or make text at run time: bytes only.
#![forbid(unsafe_code)]

use crate::http::fields::{list, weight, without_parameters};

/// A file of the page. Its bytes never change while the process runs.
#[derive(Debug)]
pub struct Asset {
    /// Name below `/web/`.
    pub name: &'static str,
    /// Content-Type.
    pub media_type: &'static str,
    /// Entity tag of the plain bytes, with its quotes.
    pub etag: &'static str,
    /// Entity tag of the gzipped bytes: another representation (RFC 9110 8.8.3.3).
    pub etag_gzip: &'static str,
    /// The file as it is.
    pub plain: &'static [u8],
    /// The file by `Content-Encoding: gzip`.
    pub gzip: &'static [u8],
}

/// Every file of the page, made by build.rs.
pub static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/web_assets.rs"));

/// Name of the file that `/` answers.
pub const INDEX: &str = "page.html";

/// Fields of every answer that belongs to the page.
///
/// The policy (CSP3) lets the page load and call nothing but this relay, and run no script or style that is written into the document.
/// `blob:` is where Media Source Extensions play from. Players get no worker: theirs would be scripts from blobs.
pub const PAGE_FIELDS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Vary", "Accept-Encoding"),
];

/// The file of this name.
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// Whether an `Accept-Encoding` value lets the answer be gzipped (RFC 9110 12.5.3). Weights are not compared: gzip or plain are all
/// there is, and gzip is smaller.
pub fn accepts_gzip(accept_encoding: &[u8]) -> bool {
    let takes = |coding: &[u8]| {
        let named = |element: &&[u8]| without_parameters(element).eq_ignore_ascii_case(coding);
        list(accept_encoding).find(named).map(|element| weight(element) > 0)
    };
    takes(b"gzip").or_else(|| takes(b"*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_there() {
        let index = asset(INDEX).expect("the page");
        let html = String::from_utf8_lossy(index.plain);
        let named: Vec<&str> = html
            .split('"')
            .filter_map(|text| text.strip_prefix("/web/"))
            .filter(|name| *name != "channels.json")
            .collect();
        assert!(named.len() >= 3, "{named:?}");
        for name in named.iter().chain(&["hls.min.js", "shaka-player.dash-es2021.js", "mpegts.js"]) {
            assert!(asset(name).is_some(), "{name} is not embedded");
        }
        assert!(asset("LICENSE-hls.js").is_none() && asset("README.md").is_none());
    }

    #[test]
    fn what_is_written_here_names_no_other_host_and_no_inline_code() {
        let own = ASSETS.iter().filter(|asset| !asset.name.contains("hls.min") && !asset.name.contains("shaka"));
        for asset in own.filter(|asset| asset.name != "mpegts.js") {
            let text = String::from_utf8_lossy(asset.plain).replace("http://www.w3.org/2000/svg", "");
            for bad in ["http://", "https://", "style=\"", "onclick=", "innerHTML", "eval("] {
                assert!(!text.contains(bad), "{} has {bad}", asset.name);
            }
        }
        assert!(!PAGE_FIELDS.iter().any(|(_, value)| value.contains("unsafe")));
    }

    #[test]
    fn gzip_is_smaller_and_says_that_it_is_gzip() {
        for asset in ASSETS.iter().filter(|asset| asset.plain.len() > 1_000) {
            assert!(asset.gzip.starts_with(&[0x1f, 0x8b, 8]), "{}: magic and method of RFC 1952 2.3.1", asset.name);
            assert!(asset.gzip.len() < asset.plain.len(), "{}", asset.name);
            assert_ne!(asset.etag, asset.etag_gzip);
        }
    }

    #[test]
    fn accept_encoding_is_read_by_the_rfc() {
        for (value, accepted) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("gzip;Q=0", false),
            ("gzip;q=", true),
            ("gzip;q=0.001", true),
            ("identity", false),
            ("xgzip", false),
            ("", false),
            (";;,=,q=0", false),
        ] {
            assert_eq!(accepts_gzip(value.as_bytes()), accepted, "{value:?}");
        }
    }
}
