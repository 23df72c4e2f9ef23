//! Every bound of the relay, in one place, with compile-time checks of how they relate.
//!
//! A value that an operator may change lives in [`crate::config`]; the range it may take lives here.
#![forbid(unsafe_code)]

// ---- HTTP requests (RFC 9112; sizes in bytes)

/// Longest request head: request line, header fields and the empty line.
pub const REQUEST_HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest request target.
pub const REQUEST_TARGET_BYTES_MAX: usize = 4 << 10;
/// Longest method token that is looked at before it counts as unknown.
pub const REQUEST_METHOD_BYTES_MAX: usize = 32;
/// Empty lines that are ignored before a request line (RFC 9112 2.2).
pub const REQUEST_LEADING_CRLF_MAX: usize = 4;
/// Most header fields of one request.
pub const REQUEST_HEADERS_MAX: usize = 64;
/// Time a client has from the first byte of a head to its last, milliseconds.
pub const REQUEST_HEAD_MS_MAX: u64 = 10_000;

// ---- HTTP responses of an origin

/// Longest response head of an origin.
pub const ORIGIN_HEAD_BYTES_MAX: usize = 32 << 10;
/// Most header fields of an origin's response.
pub const ORIGIN_HEADERS_MAX: usize = 128;
/// Longest chunk-size line with its extensions in an origin's chunked body.
pub const ORIGIN_CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Longest trailer section after an origin's chunked body.
pub const ORIGIN_TRAILER_BYTES_MAX: usize = 16 << 10;
/// Redirects followed before an origin counts as failed.
pub const ORIGIN_REDIRECTS_MAX: usize = 5;
/// Addresses of an origin's host that are tried, one after the other.
pub const ORIGIN_ADDRESSES_MAX: usize = 4;
/// First wait between two attempts to reach an origin, milliseconds; it doubles with every failure.
pub const ORIGIN_RETRY_MS_MIN: u64 = 100;
/// Milliseconds an origin must have delivered before its next failure counts as a first one.
pub const ORIGIN_GOOD_MS: u64 = 10_000;
/// Longest wait between two attempts to reach the origin of a watched channel, milliseconds.
pub const ORIGIN_RETRY_MS_MAX: u64 = 2_000;
/// Bytes read from an origin socket at once.
pub const ORIGIN_READ_BYTES: usize = 64 << 10;
/// Bytes of an origin's stream that are always worth a wake-up of its reader.
pub const ORIGIN_WORTH_BYTES_MAX: u64 = 48 << 10;

/// Most of an origin's first burst that is held to see how old it is, bytes.
pub const CONNECT_BURST_BYTES_MAX: usize = 16 << 20;
/// Most media that an origin's first burst counts for, 90 kHz ticks (10 s).
pub const CONNECT_BURST_TICKS_MAX: i64 = 900_000;

// ---- MPEG-TS in

/// Most elementary streams of one programme that become tracks.
pub const TRACKS_MAX: usize = 32;
/// Most programmes of one PAT that are looked at.
pub const PROGRAMS_MAX: usize = 256;
/// Longest PES payload, or access unit, that is put together before it is dropped and counted, bytes.
pub const PES_BYTES_MAX: usize = 8 << 20;
/// Longest private PES or section kept for a data track, bytes.
pub const DATA_PES_BYTES_MAX: usize = 128 << 10;
/// A buffer of a PES packet or access unit that grew larger than this is given back when that is through, bytes.
pub const PES_BUFFER_KEPT_BYTES: usize = 1 << 20;
/// Most bytes of PES buffers and framers of one demuxer, over all its PIDs. What would need more is dropped and counted.
pub const DEMUX_BYTES_MAX: usize = 96 << 20;
/// Most bytes of parameter sets kept for one video track.
pub const PARAMETER_SETS_BYTES_MAX: usize = 16 << 10;
/// Longest descriptor loop of one elementary stream that is kept, bytes (ISO/IEC 13818-1 2.4.4.9: 10 bits of length).
pub const DESCRIPTORS_BYTES_MAX: usize = 1_023;

// ---- rings and stores

/// Samples an ES ring of a video track keeps by default.
pub const VIDEO_RING_SAMPLES_DEFAULT: usize = 1_000;
/// Samples an ES ring of an audio or data track keeps by default.
pub const AUDIO_RING_SAMPLES_DEFAULT: usize = 2_000;
/// Fewest and most samples a ring may be set to.
pub const RING_SAMPLES_MIN: usize = 64;
/// See [`RING_SAMPLES_MIN`].
pub const RING_SAMPLES_MAX: usize = 100_000;
/// Fewest bytes a ring may be set to: it must hold one largest access unit.
pub const RING_BYTES_MIN: usize = 1 << 20;
/// Most bytes a ring may be set to.
pub const RING_BYTES_MAX: usize = 1 << 30;
/// Bytes of one store block: a multiple of the page size.
pub const BLOCK_BYTES: usize = 256 << 10;
/// Fewest bytes of store blocks one shard may be set to.
pub const SHARD_STORE_BYTES_MIN: usize = 16 << 20;
/// Most blocks one store may hold (4 GiB), so that no channel starves its shard.
pub const STORE_BLOCKS_MAX: usize = 1 << 14;
/// Most bytes of store blocks one shard may hold, the size of its sparse memfd.
pub const SHARD_STORE_BYTES_MAX: usize = 1 << 36;

// ---- transcoding

/// Lines of an encoded picture.
pub const ENCODED_HEIGHT: std::ops::RangeInclusive<u16> = 16..=4_320;
/// Most frames a second of an encoded picture.
pub const ENCODED_FPS_MAX: u8 = 120;
/// Bit rate of an encoded picture, kilobits a second.
pub const ENCODED_VIDEO_KBPS: std::ops::RangeInclusive<u32> = 16..=100_000;
/// Worst constant quality, on any encoder's scale.
pub const ENCODED_CRF_MAX: u8 = 63;
/// Bit rate of encoded sound, kilobits a second.
pub const ENCODED_AUDIO_KBPS: std::ops::RangeInclusive<u16> = 6..=1_024;
/// Most channels of encoded sound.
pub const ENCODED_CHANNELS_MAX: u8 = 8;
/// Most pixels of a picture that is decoded: 8192 x 4320.
pub const DECODED_PIXELS_MAX: u32 = 8_192 * 4_320;
/// Samples that a decoder may hold before its next picture; one that holds more at a key is begun anew there.
pub const DECODED_DELAY_MAX: usize = 24;
/// An encoder makes a key by itself when none was asked for in this many seconds.
pub const ENCODED_KEY_SECONDS_MAX: u32 = 20;
/// Most keys and breaks that an encoder waits for: more than a decoder holds frames.
pub const ENCODED_MARKS_MAX: usize = 64;
/// Sound may come this much before or behind its time and just follow, milliseconds: stamps are rounded, and some sources' jump back and forth.
pub const SOUND_JITTER_MS: i64 = 10;
/// Up to this much is made up for slowly, milliseconds: too little to be heard as out of step with the picture.
pub const SOUND_DRIFT_MS: i64 = 60;
/// A hole up to this long is filled with silence, milliseconds; behind a longer one sound begins anew.
pub const SOUND_HOLE_MS_MAX: i64 = 2_000;
/// A worker waits this long for room in an output ring before it drops what it has, milliseconds.
pub const TRANSCODE_STALL_MS_MAX: u64 = 5_000;
/// It looks for room, and whether it is stopped, this often, milliseconds.
pub const TRANSCODE_STALL_STEP_MS: u64 = 5;
/// A worker without input looks around this often, milliseconds.
pub const TRANSCODE_LOOK_MS: u64 = 500;
/// Stack of a worker: libaom and x265 want more than the 1 MiB that H.264 and VP9 do with.
pub const TRANSCODE_STACK_BYTES: usize = 4 << 20;
/// The watch looks at workers this often, milliseconds; without any, this often.
pub const TRANSCODE_WATCH_MS: u64 = 100;
/// See [`TRANSCODE_WATCH_MS`].
pub const TRANSCODE_IDLE_WATCH_MS: u64 = 10_000;
/// A worker's own figures count from then on, milliseconds: its first seconds are backfill.
pub const TRANSCODE_MEASURED_AFTER_MS: u64 = 8_000;
/// Most workers of a process.
pub const TRANSCODE_JOBS_MAX: usize = 1_024;
/// Seconds after which a refused viewer may ask again.
pub const TRANSCODE_RETRY_AFTER_S: u32 = 10;
/// Bytes of the ring to a worker, for video: it must hold an access unit.
pub const TRANSCODE_INPUT_VIDEO_BYTES: usize = 8 << 20;
/// The same for audio.
pub const TRANSCODE_INPUT_AUDIO_BYTES: usize = 256 << 10;
/// Entries of the ring to a worker.
pub const TRANSCODE_INPUT_ENTRIES: usize = 1_024;
/// Bytes of the ring from a worker.
pub const TRANSCODE_OUTPUT_BYTES: std::ops::RangeInclusive<usize> = (1 << 20)..=(64 << 20);
/// Entries of the ring from a worker.
pub const TRANSCODE_OUTPUT_ENTRIES: usize = 4_096;
/// Segments before the newest cut that a new rendition begins with, where the source's ring has them.
pub const TRANSCODE_BACKFILL_SEGMENTS: usize = 3;
/// A worker that is further behind loses samples up to the newest key, 90 kHz ticks (15 s).
pub const TRANSCODE_LAG_TICKS_MAX: i64 = 1_350_000;
/// Others of a presentation wait for an encoded rendition while it is no further behind than this, 90 kHz ticks.
pub const TRANSCODE_LATE_TICKS: i64 = TRANSCODE_LAG_TICKS_MAX;
/// First wait before a transcoder that failed is started again, microseconds; it doubles with every failure.
pub const TRANSCODE_RETRY_US_MIN: u64 = 500_000;
/// Longest such wait, microseconds.
pub const TRANSCODE_RETRY_US_MAX: u64 = 8_000_000;
/// After so many failures within [`TRANSCODE_FAILURES_WITHIN_US`] viewers are refused for [`TRANSCODE_BREAKER_US`].
pub const TRANSCODE_FAILURES_MAX: usize = 5;
/// See [`TRANSCODE_FAILURES_MAX`], microseconds.
pub const TRANSCODE_FAILURES_WITHIN_US: u64 = 60_000_000;
/// See [`TRANSCODE_FAILURES_MAX`], microseconds.
pub const TRANSCODE_BREAKER_US: u64 = 30_000_000;
/// Most `[[profile]]` tables.
pub const PROFILES_MAX: usize = 64;
/// Longest name of a profile.
pub const PROFILE_NAME_BYTES_MAX: usize = 32;
/// Most selections and renditions of one channel that are wanted at a time.
pub const WANTS_MAX: usize = 64;
/// Most rungs of a ladder.
pub const LADDER_RUNGS_MAX: usize = 6;

// ---- segments (milliseconds)

/// Shortest segment target. One second keeps media sequence numbers below unix seconds, so that a restart never regresses.
pub const SEGMENT_TARGET_MS_MIN: u64 = 1_000;
/// Longest segment target.
pub const SEGMENT_TARGET_MS_MAX: u64 = 30_000;
/// Longest EXT-X-TARGETDURATION.
pub const SEGMENT_MAX_MS_MAX: u64 = 60_000;
/// Longest playlist window.
pub const WINDOW_MS_MAX: u64 = 600_000;
/// Fewest segments in a playlist window (RFC 8216 6.2.2: three target durations).
pub const WINDOW_TARGETS_MIN: u64 = 3;
/// A first playlist request is held this long before 503 (ExoPlayer gives up at 8 s, hls.js at 10 s).
pub const FIRST_PLAYLIST_HOLD_MS: u64 = 7_000;

/// A playlist of fewer segments is one that players begin on with nothing else in their buffers.
pub const COLD_SEGMENTS: usize = 3;
/// Such a playlist is held for its next segment when that is due within this time, milliseconds.
pub const COLD_RELOAD_HOLD_MS: u64 = 700;

// ---- continuous MPEG-TS

/// A flush of the live stream at the latest after this many bytes.
pub const FLUSH_BYTES: usize = 32 << 10;
/// A flush of the live stream at the latest after this many microseconds.
pub const FLUSH_US: u64 = 40_000;
/// Longest interval between two PCRs, 90 kHz ticks (ISO/IEC 13818-1 2.7.2: 100 ms).
pub const PCR_INTERVAL_TICKS_MAX: i64 = 9_000;
/// Longest time a DTS may lie after the PCR that goes before it, 90 kHz ticks (ISO/IEC 13818-1 2.4.2.6: one second).
pub const PCR_LEAD_TICKS_MAX: i64 = 90_000;
/// Longest interval between two PATs or PMTs, 90 kHz ticks (ETSI TR 101 290 5.2.1: 500 ms).
pub const PSI_INTERVAL_TICKS_MAX: i64 = 45_000;
/// A new continuous viewer begins at the newest key sample that is at least this old, 90 kHz ticks, so that its player has something in
/// its buffer before it plays at the source's pace.
pub const LIVE_JOIN_BACK_TICKS: i64 = 90_000;
/// Longest time, milliseconds, and most bytes that continuous viewers wait for what is muxed. Well below [`STALL_NULL_MS`], so that waiting is no stall.
pub const LIVE_FLUSH_MS_MAX: u64 = 500;
pub const LIVE_FLUSH_BYTES_MAX: usize = 1 << 20;
/// Viewers pushed in one go before the executor gets to run others.
pub const PUMP_BATCH: usize = 256;

/// A video sample is held back for a track that lags behind by more than [`PCR_LEAD_TICKS_MAX`], until the newest sample is
/// this much further ahead, 90 kHz ticks; then the track counts as late and no PCR waits for it.
pub const LAGGARD_HOLD_TICKS: i64 = 45_000;
/// Audio frames of one PES packet span at most this much, 90 kHz ticks.
pub const AUDIO_PES_TICKS_MAX: i64 = 9_000;
/// Audio frames are put into one PES packet only while it stays below this, bytes.
pub const AUDIO_PES_BYTES_MAX: usize = 16 << 10;
/// A CMAF chunk is about this long, milliseconds: low latency is a matter of listing them.
pub const CMAF_CHUNK_MS: u64 = 500;
/// A CMAF chunk is written when it would grow over this, however short it is, bytes.
pub const CMAF_CHUNK_BYTES_MAX: usize = 16 << 20;
/// A track that is silent for this much media, 90 kHz ticks (3 s), holds up neither the other tracks nor its own playlist: its segments become gaps.
pub const TRACK_LATE_TICKS: i64 = 270_000;
/// A packager muxes at most this much in one go, bytes: some milliseconds of work when it is backfilled.
pub const PULL_BYTES_MAX: usize = 4 << 20;
/// Most segments of a playlist window, and most that were taken off it and are still served.
pub const WINDOW_SEGMENTS_MAX: usize = 1_024;

// ---- runtime

/// Period of the pacemaker while a shard begins or drains, milliseconds.
pub const TICK_FAST_MS: u64 = 8;
/// Period of the pacemaker while a shard has anything to do, milliseconds: sockets and other shards wake it by themselves.
pub const TICK_STEADY_MS: u64 = 40;
/// Period of the pacemaker on an idle shard, milliseconds.
pub const TICK_IDLE_MS: u64 = 250;
/// For how long after a connection or a request a shard counts as having something to do, milliseconds.
pub const BUSY_AFTER_REQUEST_MS: u64 = 1_000;
/// Period of the slow clocks of a shard: deadlines, viewers, waiting requests; milliseconds.
pub const SWEEP_MS: u64 = 100;
/// A shard that has not moved for this long is dead, milliseconds.
pub const SHARD_DEAD_MS: u64 = 15_000;
/// Segment viewers one shard keeps count of.
pub const SEGMENT_VIEWERS_MAX: usize = 200_000;
/// Unsent bytes the kernel keeps of one connection before it says that it is full (TCP_NOTSENT_LOWAT).
pub const NOTSENT_LOWAT_BYTES: i32 = 256 << 10;
/// Requests for a segment within [`HOT_SEGMENT_IDLE_MS`] of each other after which it is kept in pipes.
pub const HOT_SEGMENT_REQUESTS: u32 = 3;
/// A segment that nobody asked for is not hot any more, milliseconds.
pub const HOT_SEGMENT_IDLE_MS: u64 = 4_000;
/// Segments whose requests one shard counts.
pub const HOT_SEGMENTS_MAX: usize = 4_096;
/// Pipes of hot segments of all shards, [`BLOCK_BYTES`] each: three quarters of what Linux lets a user have (/proc/sys/fs/pipe-user-pages-soft).
pub const HOT_PIECES_MAX: usize = 192;
/// A continuous viewer's next push may come this much before its time, milliseconds: an access unit that is a little early is not to wait for a beat.
pub const FLUSH_EARLY_MS: u64 = 5;
/// A stalled continuous stream gets a null packet this often, milliseconds (players give up after 3 to 5 s of silence).
pub const STALL_NULL_MS: u64 = 1_000;
/// An answer that makes no progress for this long is cut, milliseconds.
pub const SEND_STALL_MS: u64 = 60_000;
/// Bytes read from a viewer's socket at once.
pub const REQUEST_READ_BYTES: usize = 8 << 10;
/// Threads of each shard that resolve host names: one slow name server must not keep all channels waiting.
pub const RESOLVER_THREADS: usize = 4;
/// Messages a mesh queue between two shards holds.
pub const MESH_QUEUE_LEN: usize = 1_024;
/// Most shards.
pub const SHARDS_MAX: usize = 256;
/// Most channels a config may name.
pub const CHANNELS_MAX: usize = 100_000;
/// Channels that the page at `/` shows; lists and API have them all. They are rendered in a few milliseconds.
pub const PAGE_CHANNELS_MAX: usize = 4_000;
/// A shard renders the page's channels at most this often, milliseconds, however many browsers ask.
pub const PAGE_JSON_MS: u64 = 1_000;

// ---- configuration and channel lists

/// Largest config file or channel list that is read.
pub const CONFIG_BYTES_MAX: u64 = 64 << 20;
/// Longest channel id.
pub const CHANNEL_ID_BYTES_MAX: usize = 64;
/// Longest name of a header that an operator sets for an origin.
pub const CONFIG_HEADER_NAME_BYTES_MAX: usize = 64;
/// Longest value of a header that an operator sets for an origin.
pub const CONFIG_HEADER_VALUE_BYTES_MAX: usize = 4 << 10;
/// One past the largest CPU id (CPU_SETSIZE of sched_setaffinity(2)).
pub const CPUS_MAX: usize = 1_024;
/// Most rules of an operator's that give a client its format.
pub const ROUTE_RULES_MAX: usize = 64;
/// Most texts that one of them looks for in a User-Agent, so that a request is not compared without end.
pub const ROUTE_TEXTS_MAX: usize = 16;
/// Longest name of such a rule, and longest text, bytes.
pub const ROUTE_TEXT_BYTES_MAX: usize = 64;
/// Bytes of a User-Agent that rules look at.
pub const ROUTE_USER_AGENT_BYTES_MAX: usize = 512;
/// Longest line of a channel list that is looked at.
pub const M3U_LINE_BYTES_MAX: usize = 64 << 10;
/// Most warnings kept of one channel list.
pub const M3U_WARNINGS_MAX: usize = 1_000;

// ---- synthetic origin

/// Portions of the stream that may wait between the origin's source and its server.
pub const DEMO_QUEUE_LEN: usize = 256;
/// How much of the past the synthetic origin keeps, milliseconds: the longest burst, and how far a viewer may fall behind.
pub const DEMO_HISTORY_MS: u64 = 12_000;
/// Most bytes of the past it keeps.
pub const DEMO_HISTORY_BYTES_MAX: usize = 32 << 20;
/// Most connections it holds at once.
pub const DEMO_CONNECTIONS_MAX: usize = 4_096;

const _: () = {
    assert!(SHARD_STORE_BYTES_MIN.is_multiple_of(BLOCK_BYTES));
    assert!(SHARDS_MAX <= CPUS_MAX);
    assert!(PAGE_CHANNELS_MAX <= CHANNELS_MAX);
    assert!(WINDOW_TARGETS_MIN * SEGMENT_MAX_MS_MAX <= WINDOW_MS_MAX);
    assert!(BLOCK_BYTES.is_multiple_of(4096));
    assert!(SHARD_STORE_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
    assert!(STORE_BLOCKS_MAX < SHARD_STORE_BYTES_MAX / BLOCK_BYTES);
    assert!(ROUTE_TEXT_BYTES_MAX < ROUTE_USER_AGENT_BYTES_MAX && ROUTE_USER_AGENT_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
    assert!(REQUEST_TARGET_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
    assert!(ORIGIN_WORTH_BYTES_MAX < ORIGIN_READ_BYTES as u64);
    assert!(ORIGIN_RETRY_MS_MIN < ORIGIN_RETRY_MS_MAX && ORIGIN_RETRY_MS_MAX < ORIGIN_GOOD_MS);
    assert!(FLUSH_BYTES < BLOCK_BYTES);
    assert!(PCR_INTERVAL_TICKS_MAX < PCR_LEAD_TICKS_MAX);
    assert!(AUDIO_PES_TICKS_MAX <= PCR_INTERVAL_TICKS_MAX);
    assert!(AUDIO_PES_BYTES_MAX < 0xffff);
    assert!(PULL_BYTES_MAX > FLUSH_BYTES);
    assert!(CMAF_CHUNK_MS <= SEGMENT_TARGET_MS_MIN);
    assert!(PES_BYTES_MAX <= CMAF_CHUNK_BYTES_MAX);
    assert!(SEGMENT_TARGET_MS_MIN >= 1_000);
    assert!(DATA_PES_BYTES_MAX < PES_BYTES_MAX);
    // Kept buffers of all tracks leave room for a largest packet beside them.
    assert!(TRACKS_MAX * 2 * PES_BUFFER_KEPT_BYTES + 2 * PES_BYTES_MAX <= DEMUX_BYTES_MAX);
    assert!(FIRST_PLAYLIST_HOLD_MS + COLD_RELOAD_HOLD_MS < 8_000);
    assert!(TICK_FAST_MS < TICK_STEADY_MS && TICK_STEADY_MS < TICK_IDLE_MS);
    assert!(LIVE_FLUSH_MS_MAX + TICK_STEADY_MS < STALL_NULL_MS);
    assert!(TICK_STEADY_MS <= SWEEP_MS && SWEEP_MS < STALL_NULL_MS);
    assert!(TICK_IDLE_MS * 4 < SHARD_DEAD_MS);
    assert!(RING_BYTES_MIN <= PES_BYTES_MAX && PES_BYTES_MAX <= RING_BYTES_MAX);
};
