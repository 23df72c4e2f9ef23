//! The Multivariant Playlist (RFC 8216 4.3.4; there called Master Playlist).

use std::fmt::{self, Write};

/// One EXT-X-STREAM-INF and its URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Relative to the playlist's URL.
    pub uri: String,
    /// BANDWIDTH: peak segment bit rate, bits a second.
    pub bandwidth: u64,
    /// AVERAGE-BANDWIDTH, bits a second.
    pub average_bandwidth: u64,
    /// CODECS: RFC 6381 strings in order, without doubles; the attribute is left out when empty.
    pub codecs: Vec<String>,
    /// RESOLUTION: width and height in pixels.
    pub resolution: Option<(u32, u32)>,
    /// FRAME-RATE: frames a second as a fraction.
    pub frame_rate: Option<(u32, u32)>,
}

/// Appends the playlist of `variants`, the first to be played first.
pub fn write(variants: &[Variant], out: &mut String) {
    // Writing to a String cannot fail.
    let _ = try_write(variants, out);
}

fn try_write(variants: &[Variant], out: &mut String) -> fmt::Result {
    out.push_str("#EXTM3U\n#EXT-X-VERSION:3\n");
    for variant in variants {
        write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={}", variant.bandwidth)?;
        write!(out, ",AVERAGE-BANDWIDTH={}", variant.average_bandwidth)?;
        if !variant.codecs.is_empty() {
            write!(out, ",CODECS=\"{}\"", variant.codecs.join(","))?;
        }
        if let Some((width, height)) = variant.resolution {
            write!(out, ",RESOLUTION={width}x{height}")?;
        }
        if let Some((numerator, denominator)) = variant.frame_rate.filter(|&(_, d)| d != 0) {
            write!(out, ",FRAME-RATE={:.3}", f64::from(numerator) / f64::from(denominator))?;
        }
        writeln!(out, "\n{}", variant.uri)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_are_not_known_are_left_out() {
        let mut out = String::new();
        let variant = Variant { uri: "a".into(), bandwidth: 2, average_bandwidth: 1, ..Variant::default() };
        write(&[variant], &mut out);
        assert_eq!(out, "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-STREAM-INF:BANDWIDTH=2,AVERAGE-BANDWIDTH=1\na\n");
    }
}
