//! A model of an encoder and its multiplexer: media with true times, and the time stamps that it puts on them.
//!
//! *Content time* is the encoder's own clock, 90 kHz, never jumps: the truth that the checker measures output against.
//! *Mux time* is the content time at which a sample's last byte leaves: its DTS less the track's lead. A *base* is the offset from content
//! time to 33-bit time stamps; a jump is a new base, which each track enters at a mux time of its own.

use crate::rng::Rng;

pub const SECOND: i64 = 90_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Video,
    Audio,
    Data,
}

/// One elementary stream.
#[derive(Clone, Debug)]
pub struct Stream {
    pub id: u16,
    pub kind: Kind,
    /// Frame duration is `den / num` seconds.
    pub num: i64,
    pub den: i64,
    /// Content ticks by which a sample leaves before its DTS.
    pub lead: i64,
    /// Frames from key to key.
    pub gop: i64,
    /// B pictures between two others.
    pub b_frames: i64,
    /// Open GOPs: keys are recovery points.
    pub open_gop: bool,
    next: i64,
}

/// A sample with its truth.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub id: u16,
    pub kind: Kind,
    pub mux: i64,
    pub dts: i64,
    pub pts: i64,
    pub key: bool,
    pub open_gop: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Emitted {
    Pcr { mux: i64 },
    Sample(Sample),
}

impl Emitted {
    pub fn mux(&self) -> i64 {
        match self {
            Emitted::Pcr { mux } => *mux,
            Emitted::Sample(sample) => sample.mux,
        }
    }
}

impl Stream {
    pub fn frame_ticks(&self) -> i64 {
        SECOND * self.den / self.num
    }
    fn dts(&self, index: i64) -> i64 {
        index * SECOND * self.den / self.num
    }
    fn next_mux(&self) -> i64 {
        self.dts(self.next) - self.lead
    }
    fn seek(&mut self, mux: i64) {
        self.next = (mux + self.lead) * self.num / (SECOND * self.den);
        while self.next_mux() < mux {
            self.next += 1;
        }
    }
    fn emit(&mut self) -> Sample {
        let (index, mux) = (self.next, self.next_mux());
        self.next += 1;
        let in_gop = index.rem_euclid(self.gop);
        let pts_index = index - in_gop + self.display(in_gop);
        let key = in_gop == 0;
        Sample {
            id: self.id,
            kind: self.kind,
            mux,
            dts: self.dts(index),
            pts: self.dts(pts_index),
            key,
            open_gop: self.open_gop,
        }
    }
    /// Position in display order, one frame late so that no picture is shown before it is decoded. A GOP is I, then groups of P B B ..
    fn display(&self, in_gop: i64) -> i64 {
        let group = self.b_frames + 1;
        if self.b_frames == 0 {
            return in_gop;
        }
        match in_gop {
            0 => 1,
            k if (k - 1) % group == 0 => k - 1 + group + 1,
            k => k,
        }
    }
}

/// All streams and the PCR, in the order of their bytes.
#[derive(Clone, Debug)]
pub struct Source {
    pub streams: Vec<Stream>,
    pub pcr_interval: i64,
    next_pcr: i64,
}

impl Source {
    /// A random programme that begins at mux time `mux`.
    pub fn random(rng: &mut Rng, mux: i64, audio_only: bool, gop_max_ms: i64) -> Self {
        let mut streams = Vec::new();
        let video_lead = rng.range(20, 1_200) * 90;
        if !audio_only {
            streams.push(video(rng, video_lead, gop_max_ms));
        }
        for id in 1..=rng.range(i64::from(audio_only), 2) as u16 {
            let lag = rng.range(-500, 1_500) * 90;
            streams.push(audio(rng, id, video_lead - lag));
        }
        if rng.percent(30) {
            let lead = video_lead / 2;
            streams.push(Stream {
                id: 9,
                kind: Kind::Data,
                num: 5,
                den: rng.range(1, 20),
                lead,
                gop: 1,
                b_frames: 0,
                open_gop: false,
                next: 0,
            });
        }
        let mut source = Source { streams, pcr_interval: rng.range(20, 100) * 90, next_pcr: 0 };
        source.seek(mux);
        source
    }

    pub fn seek(&mut self, mux: i64) {
        self.streams.iter_mut().for_each(|stream| stream.seek(mux));
        self.next_pcr = mux;
    }

    pub fn emit(&mut self) -> Emitted {
        let first = self.streams.iter_mut().min_by_key(|stream| stream.next_mux()).expect("a stream");
        if self.next_pcr <= first.next_mux() {
            let mux = self.next_pcr;
            self.next_pcr += self.pcr_interval;
            return Emitted::Pcr { mux };
        }
        Emitted::Sample(first.emit())
    }
}

fn video(rng: &mut Rng, lead: i64, gop_max_ms: i64) -> Stream {
    let (num, den) = rng.pick(&[(24_000, 1_001), (25, 1), (30_000, 1_001), (50, 1), (60_000, 1_001)]);
    let b_frames = rng.range(0, 3);
    let gop_ms = rng.range(500, gop_max_ms);
    let frames = gop_ms * num / den / 1_000;
    let gop = 1 + frames / (b_frames + 1) * (b_frames + 1);
    Stream { id: 0, kind: Kind::Video, num, den, lead, gop, b_frames, open_gop: rng.percent(20), next: 0 }
}

fn audio(rng: &mut Rng, id: u16, lead: i64) -> Stream {
    // AAC, AAC, MP2, AC-3.
    let (den, num) = rng.pick(&[(1_024, 48_000), (1_024, 44_100), (1_152, 48_000), (1_536, 48_000)]);
    Stream { id, kind: Kind::Audio, num, den, lead, gop: 1, b_frames: 0, open_gop: false, next: 0 }
}
