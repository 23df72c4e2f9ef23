//! The lexical forms of an MPD: escaped attribute values, xs:duration, integers.
//!
//! Source: XML 1.0 2.2 (Char), 2.3 (AttValue), 3.3.3 (attribute-value normalisation); XML Schema part 2, 3.2.6 (duration).

use std::fmt::{self, Write};

/// Displays as an attribute value between double quotes. What XML cannot hold at all becomes U+FFFD, so that a name that an origin
/// chose never makes the document ill-formed.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(is_special) {
            f.write_str(&rest[..at])?;
            let mut after = rest[at..].chars();
            match after.next() {
                Some('&') => f.write_str("&amp;")?,
                Some('<') => f.write_str("&lt;")?,
                Some('>') => f.write_str("&gt;")?,
                Some('"') => f.write_str("&quot;")?,
                // As they are, a parser would read spaces.
                Some(space @ ('\t' | '\n' | '\r')) => write!(f, "&#{};", u32::from(space))?,
                _ => f.write_char(char::REPLACEMENT_CHARACTER)?,
            }
            rest = after.as_str();
        }
        f.write_str(rest)
    }
}

/// What does not stand for itself in an attribute value: markup, and what is no Char of XML 1.0.
fn is_special(c: char) -> bool {
    matches!(c, '&' | '<' | '>' | '"' | '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Milliseconds as an xs:duration in seconds: `PT2S`, `PT0.5S`.
pub struct Millis(pub u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        duration(f, self.0 / 1_000, self.0 % 1_000, 3)
    }
}

/// Ticks of 90 kHz as an xs:duration in seconds, rounded to the nearest microsecond. All in integers: at today's unix time a double holds
/// no more than that, and the tick (11.1 microseconds) is found again by rounding.
pub struct Ticks90k(pub u64);

impl fmt::Display for Ticks90k {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 90 kHz to microseconds is 100 / 9; half of 9, rounded down, rounds to the nearest, as no tick lies half way.
        duration(f, self.0 / 90_000, (self.0 % 90_000 * 100 + 4) / 9, 6)
    }
}

/// `fraction` counts units of 10^-`decimals` seconds and is below one second. Zeros at the end are left out.
fn duration(f: &mut fmt::Formatter<'_>, seconds: u64, mut fraction: u64, mut decimals: usize) -> fmt::Result {
    if fraction == 0 {
        return write!(f, "PT{seconds}S");
    }
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        decimals -= 1;
    }
    write!(f, "PT{seconds}.{fraction:0decimals$}S")
}

/// Appends a decimal integer; a timeline has hundreds.
pub fn push_integer(mut value: u64, out: &mut String) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    // Digits are UTF-8.
    out.push_str(std::str::from_utf8(&digits[begin..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_ends_its_attribute_or_the_document() {
        assert_eq!(
            Escaped("a\"b<c>&amp;'d\n\u{1}\u{ffff}ü").to_string(),
            "a&quot;b&lt;c&gt;&amp;amp;'d&#10;\u{fffd}\u{fffd}ü"
        );
        assert_eq!(Escaped("").to_string(), "");
    }

    #[test]
    fn durations_have_no_float_in_them() {
        assert_eq!(Millis(2_000).to_string(), "PT2S");
        assert_eq!(Millis(1_050).to_string(), "PT1.05S");
        let at = |ticks: u64| Ticks90k(1_800_000_000 * 90_000 + ticks).to_string();
        assert_eq!(at(0), "PT1800000000S");
        assert_eq!(at(1), "PT1800000000.000011S");
        assert_eq!(at(45_000), "PT1800000000.5S");
        assert_eq!(at(89_999), "PT1800000000.999989S");
    }

    #[test]
    fn every_tick_is_found_again_from_its_double() {
        for ticks in (0..90_000).map(|ticks: u64| 1_800_000_000 * 90_000 + ticks) {
            let text = Ticks90k(ticks).to_string();
            let seconds: f64 = text[2..text.len() - 1].parse().unwrap();
            assert_eq!((seconds * 90_000.0).round() as u64, ticks, "{text}");
        }
    }

    #[test]
    fn integers_are_what_fmt_writes() {
        for value in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = String::new();
            push_integer(value, &mut out);
            assert_eq!(out, value.to_string());
        }
    }
}
