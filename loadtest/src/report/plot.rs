//! Lines over the time of a run, as inline SVG. Colours are classes `s0` to `s5` of the page's style sheet.
//!
//! What it deliberately does not do: anything with scripts. What lies under the pointer is told by SVG's own `title`.

use super::format::{Unit, escape, show};
use std::fmt::Write;

/// Values by second, drawn as a line with gaps where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// What stands for many seconds where there are more of them than columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Mean,
    Max,
}

/// A plot over time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimePlot {
    /// With the unit where its figures bear none.
    pub title: String,
    pub unit: Unit,
    /// By decades instead of evenly.
    pub log: bool,
    pub merge: Merge,
    /// Seconds from the start that are shaded.
    pub warmup_s: u64,
    /// At most [`SERIES_MAX`] are drawn.
    pub series: Vec<Series>,
}

/// Colours that can be told apart.
pub const SERIES_MAX: usize = 6;
/// More seconds than these are merged.
pub const COLUMNS_MAX: usize = 280;

/// The drawing's size and the plotted part of it, in the units of the `viewBox`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Frame {
    pub const HALF: Frame = Frame { width: 560.0, height: 220.0, left: 70.0, right: 548.0, top: 12.0, bottom: 192.0 };
    pub const FULL: Frame = Frame { width: 1136.0, height: 300.0, left: 70.0, right: 1124.0, top: 12.0, bottom: 272.0 };

    /// From a share of the width.
    pub fn x(&self, share: f64) -> f64 {
        self.left + (self.right - self.left) * share
    }

    /// From a share of the height, upwards.
    pub fn y(&self, share: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * share
    }

    /// An element `svg` around the drawing, named for who cannot see it.
    pub fn svg(&self, title: &str, body: &str) -> String {
        let (width, height, title) = (self.width, self.height, escape(title));
        format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">{body}</svg>")
    }

    /// A horizontal line with its label at the left.
    pub fn row(&self, share: f64, label: &str) -> String {
        let (y, left, right) = (self.y(share), self.left, self.right);
        let line = format!("<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        format!("{line}<text class=\"left\" x=\"{}\" y=\"{:.1}\">{}</text>", left - 6.0, y + 4.0, escape(label))
    }

    /// A mark at the bottom with its label below.
    pub fn column(&self, share: f64, label: &str) -> String {
        let (x, bottom) = (self.x(share), self.bottom);
        let line =
            format!("<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>", bottom + 4.0);
        format!("{line}<text class=\"below\" x=\"{x:.1}\" y=\"{}\">{}</text>", bottom + 18.0, escape(label))
    }

    /// The line at the bottom, and marks of seconds.
    pub fn time_axis(&self, seconds: usize) -> String {
        let step = time_step(seconds);
        let mut axis = format!(
            "<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>",
            self.left, self.right, self.bottom, self.bottom
        );
        for second in (0..=seconds).step_by(step) {
            let label = if step.is_multiple_of(60) { format!("{} min", second / 60) } else { format!("{second} s") };
            axis.push_str(&self.column(second as f64 / seconds.max(1) as f64, &label));
        }
        axis
    }

    /// What does not count, shaded.
    pub fn warmup(&self, warmup_s: u64, seconds: usize) -> String {
        let share = (warmup_s as f64 / seconds.max(1) as f64).min(1.0);
        if share == 0.0 {
            return String::new();
        }
        let (left, top, height) = (self.left, self.top, self.bottom - self.top);
        let width = self.x(share) - left;
        format!(
            "<rect class=\"warmup\" x=\"{left}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"><title>warm-up</title></rect>"
        )
    }
}

impl TimePlot {
    /// A heading, a legend where there is more than one line, and the drawing.
    pub fn html(&self) -> String {
        let seconds = self.series.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let drawn: Vec<Series> = self.series.iter().take(SERIES_MAX).map(|series| self.merged(series)).collect();
        let Some(scale) = Scale::of(drawn.iter().flat_map(|series| series.values.iter().copied().flatten()), self.log)
        else {
            return figure(&self.title, "", "<p class=\"empty\">no figures</p>");
        };
        let frame = Frame::HALF;
        let mut body = frame.warmup(self.warmup_s, seconds);
        for tick in scale.ticks() {
            let label = if tick == 0.0 { "0".to_owned() } else { show(tick, self.unit) };
            body.push_str(&frame.row(scale.share(tick), &label));
        }
        body.push_str(&frame.time_axis(seconds));
        for (index, series) in drawn.iter().enumerate() {
            let path = path(&frame, &scale, &series.values);
            let _ = write!(body, "<path class=\"line s{index}\" d=\"{path}\"/>");
        }
        body.push_str(&self.pointed_at(&frame, &drawn, seconds));
        let names: Vec<&str> = drawn.iter().map(|series| series.name.as_str()).collect();
        figure(&self.title, &legend(&names), &frame.svg(&self.title, &body))
    }

    fn merged(&self, series: &Series) -> Series {
        let chunk = series.values.len().div_ceil(COLUMNS_MAX).max(1);
        let merge = |values: &[Option<f64>]| {
            let there: Vec<f64> = values.iter().copied().flatten().collect();
            match self.merge {
                Merge::Mean if there.is_empty() => None,
                Merge::Mean => Some(there.iter().sum::<f64>() / there.len() as f64),
                Merge::Max => there.into_iter().reduce(f64::max),
            }
        };
        Series { name: series.name.clone(), values: series.values.chunks(chunk).map(merge).collect() }
    }

    /// Bands over the full height that tell the figures of their seconds.
    fn pointed_at(&self, frame: &Frame, drawn: &[Series], seconds: usize) -> String {
        let columns = drawn.iter().map(|series| series.values.len()).max().unwrap_or(0);
        let chunk = seconds.div_ceil(columns.max(1));
        let width = (frame.right - frame.left) / columns.max(1) as f64;
        let mut bands = String::new();
        for column in 0..columns {
            let mut told = format!("{} s", column * chunk);
            for series in drawn {
                if let Some(value) = series.values.get(column).copied().flatten() {
                    let _ = write!(told, "\n{}: {}", series.name, show(value, self.unit));
                }
            }
            let x = frame.left + column as f64 * width;
            let (top, height) = (frame.top, frame.bottom - frame.top);
            let band = format!("x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"");
            let _ = write!(bands, "<rect class=\"band\" {band}><title>{}</title></rect>", escape(&told));
        }
        bands
    }
}

/// A value's place on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    to: f64,
    log: bool,
    /// Between ticks, of an even scale.
    step: f64,
}

impl Scale {
    /// Around all values: from 0 evenly, or by decades around those above 0. `None` when there is nothing to show.
    pub fn of(values: impl Iterator<Item = f64>, log: bool) -> Option<Scale> {
        let shown: Vec<f64> = values.filter(|value| value.is_finite() && (!log || *value > 0.0)).collect();
        let most = shown.iter().copied().reduce(f64::max)?;
        let least = shown.iter().copied().reduce(f64::min)?;
        if log {
            let (from, to) = (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil()));
            return Some(Scale { from, to: if to > from { to } else { from * 10.0 }, log, step: 0.0 });
        }
        let step = nice_step(most.max(0.0) / 4.0);
        let to = (most / step).ceil().max(1.0) * step;
        let from = if least < 0.0 { (least / step).floor() * step } else { 0.0 };
        Some(Scale { from, to, log, step })
    }

    /// 0 at the bottom, 1 at the top; what cannot be shown is at the bottom.
    pub fn share(&self, value: f64) -> f64 {
        let share = if !self.log {
            (value - self.from) / (self.to - self.from)
        } else if value > 0.0 {
            (value / self.from).log10() / (self.to / self.from).log10()
        } else {
            0.0
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values along the axis.
    pub fn ticks(&self) -> Vec<f64> {
        if !self.log {
            let count = ((self.to - self.from) / self.step).round() as i64;
            return (0..=count).map(|tick| self.from + tick as f64 * self.step).collect();
        }
        let decades = (self.to / self.from).log10().round() as i32;
        // One decade alone is divided, or its axis would bear two labels.
        let within: &[f64] = if decades > 2 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut ticks: Vec<f64> =
            (0..decades).flat_map(|decade| within.iter().map(move |part| part * 10_f64.powi(decade))).collect();
        ticks.push(10_f64.powi(decades));
        ticks.iter().map(|tick| tick * self.from).collect()
    }
}

/// 1, 2 or 5 of a decade, not below the least.
fn nice_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(least.log10().floor());
    let part = [1.0, 2.0, 5.0].into_iter().find(|part| part * decade >= least * 0.999_999);
    part.unwrap_or(10.0) * decade
}

/// Seconds between marks: at most nine intervals.
fn time_step(seconds: usize) -> usize {
    let steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
    steps.into_iter().find(|step| seconds / step <= 9).unwrap_or(seconds / 9)
}

fn path(frame: &Frame, scale: &Scale, values: &[Option<f64>]) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            pen_down = false;
            continue;
        };
        // A second's figure lies in its middle.
        let x = frame.x((index as f64 + 0.5) / values.len() as f64);
        let _ = write!(path, "{}{x:.1} {:.1}", if pen_down { "L" } else { "M" }, frame.y(scale.share(value)));
        pen_down = true;
    }
    path
}

/// Names beside their colours; nothing for one alone, which the heading names.
pub fn legend(names: &[&str]) -> String {
    if names.len() < 2 {
        return String::new();
    }
    let name = |(index, name): (usize, &&str)| format!("<span><i class=\"s{index}\"></i>{}</span>", escape(name));
    format!("<p class=\"legend\">{}</p>", names.iter().enumerate().map(name).collect::<String>())
}

/// A drawing with its heading.
pub fn figure(title: &str, legend: &str, drawing: &str) -> String {
    format!("<figure><figcaption>{}</figcaption>{legend}{drawing}</figure>\n", escape(title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_axes_have_round_ticks_above_all_values() {
        let scale = Scale::of([3.0, 17.0].into_iter(), false).unwrap();
        assert_eq!(scale.ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(scale.share(20.0), 1.0);
        assert_eq!(Scale::of([0.0].into_iter(), false).unwrap().ticks(), [0.0, 1.0]);
        assert_eq!(Scale::of([f64::NAN].into_iter(), false), None);
    }

    #[test]
    fn axes_by_decades_leave_out_zero() {
        let scale = Scale::of([0.0, 0.02, 150.0].into_iter(), true).unwrap();
        let ticks = scale.ticks();
        assert_eq!(ticks.len(), 6);
        assert!((ticks[0] - 0.01).abs() < 1e-12 && (ticks[5] - 1000.0).abs() < 1e-9, "{ticks:?}");
        assert!((scale.share(1.0) - 0.4).abs() < 1e-12);
        assert_eq!(scale.share(0.0), 0.0);
        assert_eq!(Scale::of([0.0].into_iter(), true), None);
        assert_eq!(Scale::of([10.0].into_iter(), true).unwrap().ticks().len(), 4);
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let scale = Scale::of([1.0].into_iter(), false).unwrap();
        let path = path(&Frame::HALF, &scale, &[Some(1.0), Some(1.0), None, Some(1.0)]);
        assert_eq!(path.matches('M').count(), 2);
        assert_eq!(path.matches('L').count(), 1);
    }

    #[test]
    fn long_runs_are_merged_by_what_was_asked() {
        let series =
            Series { name: String::new(), values: (0..1000).map(|second| Some(f64::from(second % 4))).collect() };
        let plot = |merge| TimePlot {
            title: String::new(),
            unit: Unit::Count,
            log: false,
            merge,
            warmup_s: 0,
            series: vec![],
        };
        assert_eq!(plot(Merge::Max).merged(&series).values, vec![Some(3.0); 250]);
        assert_eq!(plot(Merge::Mean).merged(&series).values, vec![Some(1.5); 250]);
    }

    #[test]
    fn marks_of_time_do_not_crowd() {
        assert_eq!([7, 60, 140, 600, 86_400].map(time_step), [1, 10, 15, 120, 14_400]);
    }
}
