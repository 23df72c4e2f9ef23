//! Resolves references of playlists and manifests to absolute URLs (RFC 3986 section 5.2), `http` only.
//!
//! What it deliberately does not do: percent-decode, normalise case, or check that a host is one.

use std::rc::Rc;

/// The absolute URL that `reference` means in a document fetched from `base`, without fragment.
///
/// `None` where either is no `http` URL: other schemes cannot be fetched by this program.
pub fn resolve(base: &str, reference: &str) -> Option<Rc<str>> {
    let reference = reference.split('#').next().unwrap_or_default();
    if let Some(scheme) = scheme(reference) {
        let rest = scheme.eq_ignore_ascii_case("http").then(|| &reference[scheme.len() + 1..])?;
        return absolute(rest.strip_prefix("//")?);
    }
    let base = split(base)?;
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(rest);
    }
    let (path, query) = cut_query(reference);
    let (path, query) = match path {
        "" => (base.path.to_owned(), if query.is_empty() { base.query } else { query }),
        path if path.starts_with('/') => (without_dots(path), query),
        path => (without_dots(&format!("{}{path}", &base.path[..base.path.rfind('/').map_or(0, |at| at + 1)])), query),
    };
    Some(format!("http://{}{path}{query}", base.authority).into())
}

/// An absolute `http` URL in its parts; `path` begins with a slash, `query` with its mark or is empty.
struct Parts<'a> {
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

fn split(url: &str) -> Option<Parts<'_>> {
    let rest = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &url[7..])?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (hierarchy, query) = cut_query(rest);
    let at = hierarchy.find('/').unwrap_or(hierarchy.len());
    let (authority, path) = hierarchy.split_at(at);
    (!authority.is_empty()).then_some(Parts { authority, path: if path.is_empty() { "/" } else { path }, query })
}

/// From what follows `http://`.
fn absolute(rest: &str) -> Option<Rc<str>> {
    let url = format!("http://{rest}");
    let parts = split(&url)?;
    Some(format!("http://{}{}{}", parts.authority, without_dots(parts.path), parts.query).into())
}

/// The query keeps its question mark.
fn cut_query(reference: &str) -> (&str, &str) {
    reference.split_at(reference.find('?').unwrap_or(reference.len()))
}

/// The scheme without its colon (RFC 3986 section 3.1); a colon after a slash is no scheme's.
fn scheme(reference: &str) -> Option<&str> {
    let at = reference.find([':', '/', '?'])?;
    let scheme = &reference[..at];
    let is_scheme = reference[at..].starts_with(':')
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some(scheme)
}

/// RFC 3986 section 5.2.4, of a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3986 section 5.4, where it is about http.
    #[test]
    fn resolves_the_examples_of_the_rfc() {
        let base = "http://a/b/c/d;p?q";
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/../h", "http://a/b/c/h"),
            ("..g", "http://a/b/c/..g"),
        ] {
            assert_eq!(resolve(base, reference).as_deref(), Some(expected), "{reference}");
        }
    }

    #[test]
    fn takes_http_only() {
        assert_eq!(resolve("http://a/b", "https://c/d"), None);
        assert_eq!(resolve("http://a/b", "data:x"), None);
        assert_eq!(resolve("ftp://a/b", "d"), None);
        assert_eq!(resolve("http://a/b", "HTTP://c:80").as_deref(), Some("http://c:80/"));
        assert_eq!(resolve("http://a", "1:2/d"), resolve("http://a/", "/1:2/d"), "a digit begins no scheme");
    }
}
