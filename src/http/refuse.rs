//! Why a request was refused: each reason with its status and the one line that the client gets to read.
//!
//! Source: RFC 9110 15 (status codes), RFC 9112 2.2, 3, 5 and 6 (which of them a server must send).
#![forbid(unsafe_code)]

use crate::http::response::Status;

/// A request that is answered with an error and no further look.
///
/// The connection closes after every one of them: either the place where the next request begins is not certain, or a
/// body may follow that nobody reads. Their `Display` is the line for the client and holds nothing the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A byte that no method may hold, or no method at all.
    #[error("the request line does not begin with a method and one space")]
    MethodSyntax,
    /// A method nobody here knows, `CONNECT` included.
    #[error("this method is not known here")]
    MethodUnknown,
    /// A method that exists but does nothing here.
    #[error("only GET, HEAD and OPTIONS are served here")]
    MethodNotAllowed,
    /// The target is empty, holds a byte that must be percent-encoded, or has no form that fits the method.
    #[error("the request target is not a valid path or http URL")]
    TargetSyntax,
    /// The target is longer than [`crate::limits::REQUEST_TARGET_BYTES_MAX`].
    #[error("the request target is too long")]
    TargetTooLong,
    /// The request line does not end in `HTTP/` digit `.` digit.
    #[error("the request line does not end with an HTTP version")]
    VersionSyntax,
    /// An HTTP version other than 1.0 and 1.1, the HTTP/2 preface included.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    VersionUnknown,
    /// A line that ends in LF without CR (RFC 9112 2.2 lets a server refuse it; smuggling thrives on it).
    #[error("a line ends in LF without CR")]
    BareLf,
    /// CR that is not followed by LF.
    #[error("a CR is not followed by LF")]
    BareCr,
    /// A field line that begins with white space (RFC 9112 5.2).
    #[error("a header line begins with white space")]
    ObsFold,
    /// White space between a field name and its colon (RFC 9112 5.1).
    #[error("white space stands before the colon of a header")]
    SpaceBeforeColon,
    /// A field line without a colon, without a name, or with a byte that no name may hold.
    #[error("a header name is not valid")]
    NameSyntax,
    /// A control character in a field value.
    #[error("a header value holds a control character")]
    ValueSyntax,
    /// The head is longer than [`crate::limits::REQUEST_HEAD_BYTES_MAX`].
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More fields than [`crate::limits::REQUEST_HEADERS_MAX`].
    #[error("the request has too many headers")]
    TooManyFields,
    /// HTTP/1.1 without `Host`.
    #[error("the Host header is missing")]
    HostMissing,
    /// More than one `Host`, even with the same value.
    #[error("there is more than one Host header")]
    HostRepeated,
    /// `Host` that is not `uri-host [":" port]`.
    #[error("the Host header is not a valid host")]
    HostSyntax,
    /// `Content-Length` that is not a plain decimal number, lists included.
    #[error("the Content-Length header is not a number")]
    LengthSyntax,
    /// Two `Content-Length` fields that differ.
    #[error("there are several Content-Length headers and they differ")]
    LengthConflict,
    /// Both ways of framing a body at once (RFC 9112 6.1).
    #[error("Content-Length and Transfer-Encoding do not go together")]
    LengthAndCoding,
    /// `Transfer-Encoding` from an HTTP/1.0 client, repeated, empty, or not ending in `chunked` (RFC 9112 6.1, 6.3).
    #[error("the Transfer-Encoding header does not frame a body")]
    CodingSyntax,
    /// A transfer coding other than `chunked` (RFC 9112 6.1).
    #[error("this transfer coding is not known here")]
    CodingUnknown,
    /// A request with a body.
    #[error("requests with a body are not taken here")]
    Body,
    /// An expectation other than `100-continue` (RFC 9110 10.1.1).
    #[error("the only expectation known here is 100-continue")]
    Expectation,
}

impl RequestError {
    /// The status to answer with.
    pub fn status(self) -> Status {
        match self {
            Self::MethodNotAllowed => Status::MethodNotAllowed,
            Self::MethodUnknown | Self::CodingUnknown => Status::NotImplemented,
            Self::TargetTooLong => Status::UriTooLong,
            Self::VersionUnknown => Status::VersionNotSupported,
            Self::HeadTooLarge | Self::TooManyFields => Status::HeadTooLarge,
            Self::Body => Status::ContentTooLarge,
            Self::Expectation => Status::ExpectationFailed,
            _ => Status::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_the_one_the_rfc_names() {
        for (error, code) in [
            (RequestError::MethodNotAllowed, 405),
            (RequestError::MethodUnknown, 501),
            (RequestError::CodingUnknown, 501),
            (RequestError::TargetTooLong, 414),
            (RequestError::VersionUnknown, 505),
            (RequestError::HeadTooLarge, 431),
            (RequestError::TooManyFields, 431),
            (RequestError::Body, 413),
            (RequestError::Expectation, 417),
            (RequestError::ObsFold, 400),
            (RequestError::HostMissing, 400),
        ] {
            assert_eq!(error.status().code(), code, "{error:?}");
            assert!(!error.to_string().contains('\n'));
        }
    }
}
