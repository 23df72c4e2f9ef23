//! HTTP/1.1 as bytes: the request parser, response heads, ranges and URLs. No sockets.
