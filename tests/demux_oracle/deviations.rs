//! Where our samples differ from the oracles', by how much exactly, and why. An entry holds for each of its PIDs.

use super::align::Difference;

/// A stated difference of tracks of one file.
pub struct Deviation {
    pub file: &'static str,
    pub pids: &'static [u16],
    pub difference: Difference,
    #[allow(dead_code, reason = "for the reader")]
    pub why: &'static str,
}

const SAME: Difference = Difference { missing: 0, extra: 0, pts: 0, dts: 0, size: 0, key: 0 };

const TORN_END: &str = "the file ends in an audio frame: libavformat gives its first part as a packet, ours drops it";
const TORN_FRAMES: &str =
    "packets are lost: libavformat gives torn frames, and their rests in front of whole ones; ours drops both";
const FIELD_PAIRS: &str =
    "field-coded pictures: a pair is one sample of ours, libavformat gives the second field alone";
const ZERO_BYTE: &str = "FFmpeg 5.1 leaves the zero_byte of an access unit's first start code with the one before; ISO/IEC 23008-2 \
     B.2 has it begin the unit, as ours and newer FFmpeg do: the first is a byte shorter, the last a byte longer";

/// Against `ffprobe -show_packets` (FFmpeg 5.1).
pub const FFPROBE: &[Deviation] = &[
    Deviation {
        file: "bear-640x360-hevc.ts",
        pids: &[0x100],
        difference: Difference { size: 2, ..SAME },
        why: ZERO_BYTE,
    },
    Deviation {
        file: "bear-640x360-hevc.ts",
        pids: &[0x101],
        difference: Difference { pts: 22, dts: 22, ..SAME },
        why: "frames behind the first of a PES are counted on at 2089.8 ticks: ours rounds the time since that PES's time stamp, \
              libavformat steps along a grid that begins at time 0 and is one tick off",
    },
    Deviation {
        file: "sample_ac3.ts",
        pids: &[0x76c],
        difference: Difference { missing: 2, size: 1, ..SAME },
        why: "begins and ends in a frame: libavformat gives both parts, and the first whole frame's time stamp to the part before it",
    },
    Deviation { file: "sample_ait.ts", pids: &[0x14a], difference: Difference { missing: 1, ..SAME }, why: TORN_END },
    Deviation {
        file: "sample_h265_rps_pred.ts",
        pids: &[0x100],
        difference: Difference { size: 2, ..SAME },
        why: ZERO_BYTE,
    },
    Deviation {
        file: "test-009.ts",
        pids: &[0x3f2],
        difference: Difference { missing: 17, size: 17, ..SAME },
        why: FIELD_PAIRS,
    },
    Deviation {
        file: "test-009.ts",
        pids: &[0x3fd],
        difference: Difference { missing: 1, size: 1, ..SAME },
        why: TORN_FRAMES,
    },
    Deviation { file: "test-025.ts", pids: &[0x1001], difference: Difference { missing: 1, ..SAME }, why: TORN_END },
    Deviation {
        file: "test-026.ts",
        pids: &[0x78],
        difference: Difference { missing: 9, size: 9, ..SAME },
        why: FIELD_PAIRS,
    },
    Deviation {
        file: "test-026.ts",
        pids: &[0x82, 0x83, 0x84],
        difference: Difference { missing: 1, ..SAME },
        why: TORN_END,
    },
    Deviation {
        file: "test-089.000000.ts",
        pids: &[0x14a],
        difference: Difference { missing: 4, size: 6, ..SAME },
        why: TORN_FRAMES,
    },
    Deviation {
        file: "test-089.000000.ts",
        pids: &[0x14b],
        difference: Difference { missing: 4, size: 3, ..SAME },
        why: TORN_FRAMES,
    },
    Deviation {
        file: "test-089.000000.ts",
        pids: &[0x14c],
        difference: Difference { missing: 4, size: 7, ..SAME },
        why: TORN_FRAMES,
    },
    Deviation {
        file: "test-089.000000.ts",
        pids: &[0x14d],
        difference: Difference { missing: 4, size: 2, ..SAME },
        why: TORN_FRAMES,
    },
    Deviation {
        file: "test-100.1.ts",
        pids: &[0x101],
        difference: Difference { missing: 1, size: 1, ..SAME },
        why: "the end of sequence NAL unit belongs to the access unit before it (ISO/IEC 23008-2 7.4.2.4.4), libavformat gives it alone",
    },
    Deviation { file: "test-206.1.ts", pids: &[0x1f6], difference: Difference { missing: 1, ..SAME }, why: TORN_END },
];

/// Against the dumps of the ExoPlayer project.
pub const EXOPLAYER: &[Deviation] = &[
    Deviation {
        file: "sample_ait.ts",
        pids: &[0x172],
        difference: Difference { missing: 3, ..SAME },
        why: "AIT sections are no track of ours: the relay does not carry them on",
    },
    Deviation {
        file: "sample_dts_hd_across_pes.ts",
        pids: &[0x100],
        difference: Difference { extra: 1, size: 1, ..SAME },
        why: "DTS goes through as PES payloads; here a frame lies in two",
    },
    Deviation {
        file: "sample_dts_uhd.ts",
        pids: &[0x101],
        difference: Difference { key: 231, ..SAME },
        why: "DTS goes through as PES payloads, each of which counts as an entry point; ExoPlayer reads the sync frames",
    },
    Deviation {
        file: "sample_h264_no_access_unit_delimiters.ts",
        pids: &[0x100],
        difference: Difference { missing: 3, size: 3, key: 1, ..SAME },
        why: "without delimiters ExoPlayer takes each non-slice NAL unit run for a sample of its own; ffprobe agrees with ours",
    },
];
