//! What a syntactically sound head must also be: rules between its method, target, version and fields.
//!
//! Sources: RFC 9112 3.2 (`Host`, target forms), 6 (framing), RFC 9110 9 (methods), 10.1.1 (`Expect`).
//!
//! The order is part of the meaning: framing first, because a request whose length is in doubt must be refused as such
//! (400), whatever else is wrong with it; then what the server does not do (501, 405, 413, 417).
#![forbid(unsafe_code)]

use crate::http::fields::{Field, list};
use crate::http::refuse::RequestError;
use crate::http::request::{Method, Version};
use crate::http::url;

/// Checks every rule, with `known` to look up fields, and gives the method when it is one that is served.
#[inline]
pub(super) fn check<'b>(
    method: &[u8],
    target: &[u8],
    version: Version,
    known: &impl Fn(Field) -> Option<&'b [u8]>,
) -> Result<Method, RequestError> {
    check_host(version, known(Field::Host))?;
    let body = body_follows(version, known)?;
    let method = served(method)?;
    check_target(method, target)?;
    if body {
        return Err(RequestError::Body);
    }
    check_expect(version, known(Field::Expect))?;
    Ok(method)
}

/// RFC 9112 3.2: `Host` is required in HTTP/1.1 and must be valid wherever it stands. Repetition is found earlier.
fn check_host(version: Version, host: Option<&[u8]>) -> Result<(), RequestError> {
    match host {
        None if version == Version::Http10 => Ok(()),
        None => Err(RequestError::HostMissing),
        Some(host) if url::is_host_and_port(host) => Ok(()),
        Some(_) => Err(RequestError::HostSyntax),
    }
}

/// Whether the head announces a body of at least one byte, or of a length that only the body tells.
fn body_follows<'b>(version: Version, known: &impl Fn(Field) -> Option<&'b [u8]>) -> Result<bool, RequestError> {
    let length = known(Field::ContentLength);
    if let Some(digits) = length
        && (digits.is_empty() || !digits.iter().all(u8::is_ascii_digit))
    {
        return Err(RequestError::LengthSyntax);
    }
    let Some(coding) = known(Field::TransferEncoding) else {
        return Ok(length.is_some_and(|digits| digits.iter().any(|&digit| digit != b'0')));
    };
    if length.is_some() {
        return Err(RequestError::LengthAndCoding);
    }
    check_coding(version, coding)?;
    Ok(true)
}

/// RFC 9112 6.1 and 6.3: `chunked` must be the last coding and come once; other codings before it are unknown here.
fn check_coding(version: Version, coding: &[u8]) -> Result<(), RequestError> {
    let is_chunked = |name: &[u8]| name.eq_ignore_ascii_case(b"chunked");
    let chunked_count = list(coding).filter(|name| is_chunked(name)).count();
    let ends_chunked = list(coding).last().is_some_and(is_chunked);
    if version == Version::Http10 || chunked_count != 1 || !ends_chunked {
        return Err(RequestError::CodingSyntax);
    }
    if list(coding).count() > 1 {
        return Err(RequestError::CodingUnknown);
    }
    Ok(())
}

/// Methods are case-sensitive (RFC 9110 9.1). `CONNECT` is for proxies, so it is unknown rather than not allowed.
fn served(method: &[u8]) -> Result<Method, RequestError> {
    match method {
        b"GET" => Ok(Method::Get),
        b"HEAD" => Ok(Method::Head),
        b"OPTIONS" => Ok(Method::Options),
        b"POST" | b"PUT" | b"DELETE" | b"PATCH" | b"TRACE" => Err(RequestError::MethodNotAllowed),
        _ => Err(RequestError::MethodUnknown),
    }
}

/// RFC 9112 3.2: origin-form or absolute-form; `*` with `OPTIONS` alone.
fn check_target(method: Method, target: &[u8]) -> Result<(), RequestError> {
    match target {
        [b'/', ..] => Ok(()),
        b"*" if method == Method::Options => Ok(()),
        _ if url::path_of_absolute(target).is_some() => Ok(()),
        _ => Err(RequestError::TargetSyntax),
    }
}

/// No body is ever read, so `100-continue` needs no answer of its own (RFC 9110 10.1.1); HTTP/1.0 has no expectations.
fn check_expect(version: Version, expect: Option<&[u8]>) -> Result<(), RequestError> {
    match expect {
        Some(value) if version == Version::Http11 && !value.eq_ignore_ascii_case(b"100-continue") => {
            Err(RequestError::Expectation)
        }
        _ => Ok(()),
    }
}
