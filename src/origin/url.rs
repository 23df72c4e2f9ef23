//! An origin's URL, with what it must not show.
//!
//! Sources: RFC 3986, RFC 9110 4.2 (http URLs), RFC 7617 (Basic credentials from user information).
//!
//! What it deliberately does not do: show itself. Providers put passwords into the path
//! (`/live/USER/PASSWORD/1.ts`) and tokens into the query, so `Display` and `Debug` end after host and port.
#![forbid(unsafe_code)]

use super::{OriginError, base64};
use crate::http::url::decode_bytes;
use serde::{Serialize, Serializer};
use std::fmt;
use url::{Host, Url};

/// A checked `http://` URL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OriginUrl {
    url: Url,
}

impl OriginUrl {
    /// Parses an absolute URL.
    ///
    /// # Errors
    /// [`OriginError::HttpsUnsupported`] for `https`, [`OriginError::UrlSyntax`] for everything else that is wrong.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        Self::checked(Url::parse(text).map_err(|_| OriginError::UrlSyntax("it cannot be parsed"))?)
    }

    /// The URL that `location`, a `Location` field, means relative to this one.
    ///
    /// # Errors
    /// [`OriginError::RedirectTarget`] when it is no URL; [`OriginError::HttpsUnsupported`].
    pub(super) fn redirected(&self, location: &str) -> Result<Self, OriginError> {
        let url = self.url.join(location).map_err(|_| OriginError::RedirectTarget)?;
        match Self::checked(url) {
            Err(OriginError::UrlSyntax(_)) => Err(OriginError::RedirectTarget),
            other => other,
        }
    }

    fn checked(url: Url) -> Result<Self, OriginError> {
        match url.scheme() {
            "http" if url.has_host() && url.port() != Some(0) => Ok(OriginUrl { url }),
            "http" => Err(OriginError::UrlSyntax("its port is 0")),
            "https" => Err(OriginError::HttpsUnsupported),
            _ => Err(OriginError::UrlSyntax("it does not begin with http://")),
        }
    }

    /// What to resolve: a name, or an address without brackets.
    pub fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(), // `checked` has seen to it that there is one.
        }
    }

    /// The port, 80 unless the URL names another.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(80)
    }

    /// The value of `Host`: brackets around an IPv6 address, no default port.
    pub(super) fn host_field(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The origin-form request target.
    pub(super) fn target(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// The value of `Authorization` for the user information, if there is any.
    pub(super) fn authorization(&self) -> Option<String> {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return None;
        }
        // Escapes stand for bytes; a broken one stands for itself.
        let part = |text: &str| decode_bytes(text.as_bytes()).unwrap_or_else(|| text.as_bytes().to_vec());
        let mut credentials = part(self.url.username());
        credentials.push(b':');
        credentials.extend(part(self.url.password().unwrap_or_default()));
        let mut value = String::from("Basic ");
        base64::push(&mut value, &credentials);
        Some(value)
    }

    /// Whether host and port are the same: whether credentials for one may be sent to the other.
    pub(super) fn is_same_server(&self, other: &OriginUrl) -> bool {
        self.url.host() == other.url.host() && self.port() == other.port()
    }
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/...", self.host_field())
    }
}

impl Serialize for OriginUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> OriginUrl {
        OriginUrl::parse(text).unwrap()
    }

    #[test]
    fn parts_of_an_url() {
        let url = url("http://example.net:8000/a b/1.ts?x=1#frag");
        assert_eq!((url.host().as_str(), url.port()), ("example.net", 8000));
        assert_eq!((url.host_field().as_str(), url.target()), ("example.net:8000", "/a%20b/1.ts?x=1"));
        assert_eq!(url.authorization(), None);
    }

    #[test]
    fn ipv6_has_brackets_only_in_the_host_field() {
        let url = url("http://[::1]/");
        assert_eq!((url.host().as_str(), url.port(), url.host_field().as_str()), ("::1", 80, "[::1]"));
    }

    #[test]
    fn user_information_becomes_basic_credentials() {
        // RFC 7617 2: Aladdin and "open sesame".
        let url = url("http://Aladdin:open%20sesame@h/");
        assert_eq!(url.authorization().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    #[test]
    fn neither_display_nor_debug_shows_a_secret() {
        let url = url("http://user:pass@h:81/live/user/pass/1.ts?token=secret");
        for shown in [format!("{url}"), format!("{url:?}"), format!("{url:#?}"), serde_json::to_string(&url).unwrap()] {
            assert!(shown.contains("http://h:81/..."), "{shown}");
            assert!(!["user", "pass", "secret", "live"].iter().any(|secret| shown.contains(secret)), "{shown}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        assert_eq!(OriginUrl::parse("https://h/"), Err(OriginError::HttpsUnsupported));
        for bad in ["", "h/1.ts", "udp://239.0.0.1:5000", "file:///etc", "http://", "http://h:0/", "http://h:99999/"] {
            assert!(matches!(OriginUrl::parse(bad), Err(OriginError::UrlSyntax(_))), "{bad}");
        }
    }

    #[test]
    fn redirects_resolve_against_the_url() {
        let base = url("http://u:p@h:81/a/b?c");
        assert_eq!(base.redirected("../d?e").unwrap().target(), "/d?e");
        assert!(base.redirected("/d").unwrap().is_same_server(&base));
        assert!(!base.redirected("http://h/d").unwrap().is_same_server(&base));
        assert!(!base.redirected("//other:81/d").unwrap().is_same_server(&base));
        assert_eq!(base.redirected("https://h/"), Err(OriginError::HttpsUnsupported));
        assert_eq!(base.redirected("rtsp://h/"), Err(OriginError::RedirectTarget));
    }
}
