//! millrace: a live-stream relay for dense CDN edges. One origin connection in; HLS with TS or fMP4 segments, DASH and
//! continuous MPEG-TS out, on every core.
//!
//! # Data flow
//! ```text
//!                                                              ┌► TS packager ────► store ──────────┬► continuous TS   send(2)
//!  origin ─► demux ─► pacer ─► timeline ─► ES ring per track ─┤                                    └► HLS-TS        ┐
//!  (http)    packets  evens    output      samples in a    │  └► CMAF packager ──► store per track ─┬► HLS-fMP4      ├ sendfile(2), splice(2)
//!            to       out      time, cuts, memory map      │     ▲                 rendition        └► DASH          ┘
//!            samples  bursts   numbers                     ▼     │
//!                                                  branch: hand-over ring ─► transcoder's thread ─► hand-over ring, an ES ring like the others
//!  └──────────────────────── the channel's owner shard ────────────────────────┘   └──────────── every shard ────────────┘
//! ```
//! A viewer's first request *touches* the channel; its owner shard opens a [`session`], which asks for the origin.
//! What the origin sends is demuxed into samples, placed on one output timeline, and kept in a ring per track. A
//! packager, made when somebody first asks for its container, muxes samples into append-only [`store`]s: one for TS, which
//! continuous viewers and HLS-TS share, and one for each track rendition in CMAF, which HLS-fMP4 and DASH share. [`route`] decides which
//! format a client gets, and what is made for it that the source does not have: [`transcode`] makes such renditions on cores of its own, fed
//! from the rings and read like them, once for all who want them. Viewers on every shard read the stores in place. When nobody has touched the channel for the idle time, all of it goes.
//!
//! # Code map
//! | module | what | may import |
//! |---|---|---|
//! | [`time`] | 90 kHz types, 33-bit stamps, the caller's clock reading | |
//! | [`limits`] | every bound, checked against each other at compile time | |
//! | [`es`] | the vocabulary (sample, track, codec, key, container) and the codecs' framing | `time` |
//! | [`mpegts`] | packets, PSI, PES; demux and mux | `es` |
//! | [`fmp4`] | CMAF init segments and chunks | `es` |
//! | [`timeline`] | the one owner of time: input to output time, epoch, cuts, numbers; the pacer | `es` |
//! | [`ring`] | ES ring, SPSC hand-over (mmap; unsafe) | `es` |
//! | [`store`] | blocks in a memfd, shared header, readers (mmap; unsafe) | `ring`'s memory maps |
//! | [`package`] | processors: samples to each format's bytes and text | `ring`, `store`, `timeline`, `mpegts`, `fmp4`, `hls`, `dash` |
//! | [`hls`], [`dash`] | playlist and MPD text | |
//! | [`http`] | request parser, response heads, ranges, URLs: bytes only | `time` |
//! | [`route`] | request to (channel, format, selection, why): extension, parameters, headers, rules | `http`, `es` |
//! | [`origin`] | origin protocols as sans-IO state machines | |
//! | [`session`] | a channel's state machine; what all shards see of it | `package`, `mpegts`, `timeline`, `metrics` |
//! | [`transcode`] | transcoders: what is admitted, on which core it runs, libav behind safe types | `ring`, `es` |
//! | [`config`], [`m3u`], [`metrics`], [`api`] | what operators write and read | |
//! | [`web`] | the page at `/` and the players it embeds, as bytes | `http` |
//! | [`shard`] | **the only runtime layer**: executors, connections, pumps, origin IO, mesh | everything |
//! | [`demo`] | the synthetic origin, on threads of its own, beside the relay | |
//!
//! # Invariants
//! * Everything but [`shard`], [`transcode`], [`demo`] and `main` has no async, no sockets, no threads and no clock: `now` is an argument,
//!   commands come out of a `poll`. Ring and store make memory maps, nothing else. `tests/tidy.rs` checks this page's rules.
//! * A channel has at most one origin connection, however many viewers come at once.
//! * A slow viewer, a lagging transcoder or a stuck shard never blocks ingest and never grows memory without bound.
//! * Bytes once published never change.
//! * Output time stamps are monotonic, or a discontinuity is signalled in every format.
//! * Packagers never invent a time, a cut or a number: the timeline owns them.
//! * Viewers cannot have unbounded work done: codecs and profiles are names of the configuration, and what a core has no room for is refused.
//! * libav is called in `transcode/av` alone (and by [`demo`]'s encoder).
//! * Network input never panics; a panic that happens all the same ends one connection or one session, never a shard.
//! * Origin addresses and credentials never show in viewer-facing pages, logs or errors.
//!
//! # Glossary
//! *Sample*: one access unit with its time stamps. *Track*: one elementary stream of a channel. *Key sample*: one that
//! decoding may begin at. *Cut*: the point where a segment begins, on the reference track, shared by all formats.
//! *Segment*: what a playlist lists. *Chunk*: one `moof` and `mdat` of a CMAF segment. *Rendition*: one track as it is served, the source's own or an *encoding* of it, with a
//! ring, a playlist and a CMAF store of its own; its name is the key in URLs. *Selection*: what a viewer gets of a channel: rungs of pictures (several are a
//! *ladder*) and a sound. *Branch*: what a session hands to a transcoder, samples in and encodings out. *Container*: TS or CMAF, what samples are muxed into. *Format*: what a viewer
//! plays. *Choice*: the format that a request asks for; it is *settled* once the source's codecs are known. *Epoch*: one uninterrupted run of a channel's session; it stands in every media
//! URL. *Session*: a channel while it is watched. *Owner*: the shard where a channel's session lives. *Mirror*: a
//! shard's sight of a channel. *Touch*: somebody wants the channel, now. *Pump*: pushes a channel's continuous stream
//! to a shard's viewers. *Beat*: one turn of a shard's clocks, along with media or when the pacemaker wakes it. *Store*: append-only muxed bytes. *Join point*: a store position where a viewer may begin.

pub mod api;
pub mod config;
pub mod dash;
pub mod demo;
pub mod es;
pub mod fmp4;
pub mod hls;
pub mod http;
pub mod limits;
pub mod m3u;
mod memfd;
pub mod metrics;
pub mod mpegts;
pub mod origin;
pub mod package;
pub mod ring;
pub mod route;
pub mod session;
pub mod shard;
pub mod store;
pub mod time;
pub mod timeline;
pub mod transcode;
pub mod web;
