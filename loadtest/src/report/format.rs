//! Figures with their units, as people read them: three significant digits and a unit of fitting size.

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    PerSecond,
    Bytes,
    Milliseconds,
    Seconds,
    /// Processor seconds for each 10^9 bytes sent.
    SecondsPerGb,
    /// Of anything, for each 10^9 bytes sent.
    PerGb,
    GbitPerSecond,
    /// Processor seconds per second.
    Cores,
    /// 0 to 1, shown in per cent.
    Share,
}

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// A figure with its unit: `1.23 GB`, `850 µs`.
pub fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count => count(value),
        Unit::PerSecond => format!("{}/s", significant(value)),
        Unit::Bytes => scaled(value, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")]),
        Unit::Milliseconds => scaled(value, &[(1e3, "s"), (1.0, "ms"), (1e-3, "µs")]),
        Unit::Seconds => format!("{} s", significant(value)),
        Unit::SecondsPerGb => format!("{} s/GB", significant(value)),
        Unit::PerGb => format!("{}/GB", significant(value)),
        Unit::GbitPerSecond => scaled(value, &[(1.0, "Gbit/s"), (1e-3, "Mbit/s"), (1e-6, "kbit/s")]),
        Unit::Cores => significant(value),
        Unit::Share => format!("{} %", significant(value * 100.0)),
    }
}

/// The same, or a dash.
pub fn show_some(value: Option<f64>, unit: Unit) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| show(value, unit))
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let smallest = units[units.len() - 1];
    // Nothing is shown in the unit proper, whatever fits it.
    let fitting = units.iter().find(|(size, _)| if value == 0.0 { *size == 1.0 } else { value.abs() >= *size });
    let (size, name) = *fitting.unwrap_or(&smallest);
    format!("{} {name}", significant(value / size))
}

/// Whole numbers in groups of three; others like any figure.
fn count(value: f64) -> String {
    if value.fract() == 0.0 { grouped(value) } else { significant(value) }
}

/// Three significant digits, without zeros behind the point that say nothing; whole from 1000 on.
pub fn significant(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rounded first: 9.996 has one digit more than it seems.
    let magnitude = value.abs().log10().floor();
    let rounded_magnitude = (value.abs() / 10_f64.powf(magnitude - 2.0)).round().log10().floor() + magnitude - 2.0;
    if rounded_magnitude >= 3.0 {
        return grouped(value.round());
    }
    let decimals = (2.0 - rounded_magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn grouped(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut text = if whole < 0.0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Text for a terminal: control characters, which might colour or clear it, become U+FFFD.
pub fn printable(text: &str) -> String {
    text.replace(|character: char| character.is_control() && character != '\n', "\u{FFFD}")
}

/// Text for HTML, within elements and quoted attributes. Control characters, which neither HTML nor XML may hold, become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            _ if character.is_control() => escaped.push('\u{FFFD}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 0.012_345, 0.5, 1.0, 9.996, 12.34, 99.96, 123.4, 999.6, 1234.5, 1_234_567.0, -0.25];
        let expected = ["0", "0.0123", "0.5", "1", "10", "12.3", "100", "123", "1,000", "1,235", "1,234,567", "-0.25"];
        assert_eq!(shown.map(significant), expected);
        assert_eq!(significant(f64::NAN), NONE);
    }

    #[test]
    fn units_fit() {
        assert_eq!(show(1_234_000_000.0, Unit::Bytes), "1.23 GB");
        assert_eq!(show(0.85, Unit::Milliseconds), "850 µs");
        assert_eq!(show(0.0, Unit::Milliseconds), "0 ms");
        assert_eq!((show(0.0, Unit::Bytes), show(0.0, Unit::GbitPerSecond)), ("0 B".to_owned(), "0 Gbit/s".to_owned()));
        assert_eq!(show(2500.0, Unit::Milliseconds), "2.5 s");
        assert_eq!(show(0.25, Unit::GbitPerSecond), "250 Mbit/s");
        assert_eq!(show(0.0123, Unit::Share), "1.23 %");
        assert_eq!(show(12_345.0, Unit::Count), "12,345");
        assert_eq!(show_some(None, Unit::Count), NONE);
    }

    #[test]
    fn nothing_gets_out_of_an_element_or_attribute() {
        assert_eq!(escape("<a b='\"'>&\u{1}\u{9f}é"), "&lt;a b=&#39;&quot;&#39;&gt;&amp;\u{FFFD}\u{FFFD}é");
    }
}
