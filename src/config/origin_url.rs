//! Origin addresses and header values, held so that no log line, page or error can show what is secret in them.
//!
//! A credential may stand anywhere in an origin's URL: as user information (RFC 3986 3.2.1), in a path segment or in the query.
//! So `Debug`, `Display` and serialisation of [`OriginUrl`] show scheme, host and port alone, and those of [`Secret`] nothing.
#![forbid(unsafe_code)]

use serde::{Serialize, Serializer};
use std::fmt;
use thiserror::Error;
use url::Url;

/// The address of an origin: `http://[user:password@]host[:port]/path[?query]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OriginUrl(Url);

/// Why a text is no origin address. Says nothing of the text itself but its scheme.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OriginUrlError {
    /// RFC 3986 is not met.
    #[error("not a URL: {0}")]
    Malformed(url::ParseError),
    /// Anything but `http`.
    #[error("origins of scheme `{0}` are not supported")]
    Scheme(String),
    /// `http:///path`.
    #[error("the URL has no host")]
    NoHost,
}

impl OriginUrlError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Scheme(scheme) if scheme == "https" => {
                "name the http:// address, or put a TLS proxy on this host between the relay and the origin"
            }
            _ => "write it as http://host[:port]/path",
        }
    }
}

impl OriginUrl {
    /// Takes an absolute http URL.
    pub fn parse(text: &str) -> Result<Self, OriginUrlError> {
        Self::checked(Url::parse(text.trim()).map_err(OriginUrlError::Malformed)?)
    }

    /// Where a `Location` of this origin leads: absolute, or relative to this address (RFC 9110 10.2.2). User information stays
    /// with the same host and port and is never carried to another.
    pub fn join(&self, location: &str) -> Result<Self, OriginUrlError> {
        let mut url = self.0.join(location.trim()).map_err(OriginUrlError::Malformed)?;
        let same_authority =
            url.host() == self.0.host() && url.port_or_known_default() == self.0.port_or_known_default();
        if same_authority && url.username().is_empty() && url.scheme() == self.0.scheme() {
            let _ = url.set_username(self.0.username());
            let _ = url.set_password(self.0.password());
        }
        Self::checked(url)
    }

    fn checked(mut url: Url) -> Result<Self, OriginUrlError> {
        if url.scheme() != "http" {
            return Err(OriginUrlError::Scheme(url.scheme().to_string()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(OriginUrlError::NoHost);
        }
        url.set_fragment(None);
        Ok(OriginUrl(url))
    }

    /// Host name or address; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// TCP port, 80 when none was written.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// `host` or `host:port`, as the `Host` field wants it (RFC 9110 7.2).
    pub fn host_field(&self) -> String {
        match self.0.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_string(),
        }
    }

    /// Path and query for the request line. **Secret**: write it to the origin's socket and nowhere else.
    pub fn request_target(&self) -> String {
        match self.0.query() {
            Some(query) => format!("{}?{query}", self.0.path()),
            None => self.0.path().to_string(),
        }
    }

    /// Value of an `Authorization` field (RFC 7617) where the URL carries user information.
    pub fn authorization(&self) -> Option<Secret> {
        let password = self.0.password().unwrap_or_default();
        if self.0.username().is_empty() && password.is_empty() {
            return None;
        }
        let plain = [percent_decoded(self.0.username()), b":".to_vec(), percent_decoded(password)].concat();
        Some(Secret::new(format!("Basic {}", base64(&plain))))
    }
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/...", self.host_field())
    }
}

impl fmt::Debug for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for OriginUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is shown to its recipient alone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: String) -> Self {
        Secret(text)
    }
    /// The text. Write it to the origin's socket and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// Octets of a percent-encoded text (RFC 3986 2.1); a `%` without two hex digits stands for itself.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let octet = hex.and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(octet.unwrap_or(bytes[at]));
        at += if octet.is_some() { 3 } else { 1 };
    }
    out
}

/// Standard alphabet with padding (RFC 4648 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let octet = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= group.len() { ALPHABET[index as usize] as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_ever_shown() {
        let url = OriginUrl::parse("http://bob:hunter2@origin.example:8000/live/bob/hunter2/7.ts?token=abc#x").unwrap();
        for shown in [format!("{url}"), format!("{url:?}"), serde_json::to_string(&url).unwrap()] {
            assert_eq!(shown.trim_matches('"'), "http://origin.example:8000/...");
        }
        assert_eq!(url.request_target(), "/live/bob/hunter2/7.ts?token=abc");
        assert_eq!(url.host_field(), "origin.example:8000");
        assert_eq!(url.port(), 8000);
        let secret = url.authorization().unwrap();
        assert_eq!(secret.expose(), "Basic Ym9iOmh1bnRlcjI=");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }

    #[test]
    fn errors_do_not_repeat_the_url() {
        for text in
            ["https://u:secret@h/secret", "udp://@secret:1", "http://u:secret@:80/", "secret", "http://[secret/"]
        {
            let error = OriginUrl::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?} {}", error.remedy()).contains("secret"), "{error}");
        }
        assert!(OriginUrl::parse("https://h/").unwrap_err().remedy().contains("TLS proxy"));
    }

    #[test]
    fn a_redirect_keeps_credentials_on_its_own_host_only() {
        let url = OriginUrl::parse("http://u:p@a.example/x/y.ts").unwrap();
        let near = url.join("z.ts?k=1").unwrap();
        assert_eq!((near.request_target().as_str(), near.authorization().is_some()), ("/x/z.ts?k=1", true));
        let far = url.join("http://b.example/").unwrap();
        assert_eq!((far.host(), far.authorization()), ("b.example", None));
        let other_port = url.join("http://a.example:81/").unwrap();
        assert_eq!(other_port.authorization(), None);
        assert!(matches!(url.join("https://a.example/"), Err(OriginUrlError::Scheme(_))));
    }

    #[test]
    fn base64_pads_as_rfc_4648_section_10_shows() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(percent_decoded("a%40b%zz%4"), b"a@b%zz%4");
    }
}
