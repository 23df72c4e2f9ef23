//! JSON, metrics text and the channel list.
