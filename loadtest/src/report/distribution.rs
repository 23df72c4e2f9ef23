//! Times by percentile: the axis stretches towards 100 %, so that the slowest of ten, of a hundred and of a thousand have equal room.

use super::format::{Unit, escape, show};
use super::plot::{Frame, SERIES_MAX, Scale, figure, legend};
use crate::result::Quantiles;
use std::fmt::Write;

/// Times of one kind.
pub struct Curve<'a> {
    pub name: String,
    pub solid: &'a Quantiles,
    /// Drawn dashed in the same colour.
    pub dashed: Option<&'a Quantiles>,
}

/// Curves with a heading; at most [`SERIES_MAX`] that have any requests are drawn.
pub fn html(title: &str, curves: &[Curve]) -> String {
    let drawn: Vec<&Curve> = curves.iter().filter(|curve| curve.solid.count > 0).take(SERIES_MAX).collect();
    let all = drawn.iter().flat_map(|curve| std::iter::once(curve.solid).chain(curve.dashed));
    let points: Vec<(f64, f64)> = all.flat_map(points).collect();
    let Some(scale) = Scale::of(points.iter().map(|(_, ms)| *ms), true) else {
        return figure(title, "", "<p class=\"empty\">no figures</p>");
    };
    let frame = Frame::FULL;
    let nines = points.iter().map(|(nines, _)| *nines).fold(3.0, f64::max);
    let mut body = String::new();
    for tick in scale.ticks() {
        body.push_str(&frame.row(scale.share(tick), &show(tick, Unit::Milliseconds)));
    }
    body.push_str(&axis(&frame, nines));
    for (index, curve) in drawn.iter().enumerate() {
        if let Some(dashed) = curve.dashed {
            body.push_str(&line(
                &frame,
                &scale,
                nines,
                dashed,
                &format!("line dashed s{index}"),
                &format!("{}, from sending", curve.name),
            ));
        }
        body.push_str(&line(&frame, &scale, nines, curve.solid, &format!("line s{index}"), &curve.name));
    }
    let names: Vec<&str> = drawn.iter().map(|curve| curve.name.as_str()).collect();
    figure(title, &legend(&names), &frame.svg(title, &body))
}

/// Nines of the percentile (1 of 90 %, 2 of 99 %) and time. The maximum of `n` stands at `1 - 1/n`, where it lies behind the others.
fn points(quantiles: &Quantiles) -> Vec<(f64, f64)> {
    let Quantiles { count, p50, p90, p95, p99, p999, max, .. } = quantiles;
    let mut points: Vec<(f64, f64)> = [(0.5, p50), (0.9, p90), (0.95, p95), (0.99, p99), (0.999, p999)]
        .into_iter()
        .map(|(share, ms)| (nines(share), *ms))
        .collect();
    if *count > 1000 {
        points.push(((*count as f64).log10(), *max));
    }
    points
}

fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

fn axis(frame: &Frame, nines_max: f64) -> String {
    let labels = [
        (0.0, "0 %"),
        (nines(0.5), "50 %"),
        (1.0, "90 %"),
        (nines(0.95), "95 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
    ];
    let (left, right, bottom) = (frame.left, frame.right, frame.bottom);
    let mut axis = format!("<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>");
    for (nines, label) in labels.into_iter().filter(|(nines, _)| *nines <= nines_max) {
        axis.push_str(&frame.column(nines / nines_max, label));
    }
    axis
}

fn line(frame: &Frame, scale: &Scale, nines_max: f64, quantiles: &Quantiles, class: &str, name: &str) -> String {
    let mut path = String::new();
    let mut dots = String::new();
    for (nines, ms) in points(quantiles) {
        let (x, y) = (frame.x(nines / nines_max), frame.y(scale.share(ms)));
        let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
        let told = format!("{name}\n{}: {}", format_percent(percent), show(ms, Unit::Milliseconds));
        let _ = write!(
            dots,
            "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{}</title></circle>",
            escape(&told)
        );
    }
    format!("<path class=\"{class}\" d=\"{path}\"/>{dots}")
}

fn format_percent(percent: f64) -> String {
    let text = format!("{percent:.4}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_stands_where_its_count_puts_it() {
        let few = Quantiles { count: 100, max: 9.0, ..Quantiles::default() };
        assert_eq!(points(&few).len(), 5);
        let many = Quantiles { count: 100_000, max: 9.0, ..Quantiles::default() };
        assert_eq!(points(&many)[5], (5.0, 9.0));
        assert!((points(&many)[1].0 - 1.0).abs() < 1e-12);
        assert_eq!(format_percent(99.9), "99.9 %");
    }
}
