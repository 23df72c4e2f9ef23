//! HLS playlist text (RFC 8216): bytes and text only.
