//! Extended M3U channel lists: import of an operator's list, export as `/channels.m3u`.
