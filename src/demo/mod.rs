//! The synthetic origin: an encoded test picture, or a TS file looped for ever, served as a live stream.
