//! First-byte times over the run as a heat map: columns are seconds, rows powers of two, shades how many requests. It shows what quantiles
//! hide: two peaks, and pauses that hit a few.

use super::figures::ratio;
use super::format::{Unit, escape, show};
use super::plot::{COLUMNS_MAX, Frame, figure};
use crate::result::Second;
use std::fmt::Write;

/// Shades, `h0` to `h7` of the style sheet; each is for a share of the logarithm of the count.
const SHADES: usize = 8;
const TITLE: &str = "First byte, from the intended time: requests by second and time";

/// The heat map of [`Second::first_byte_buckets`].
pub fn html(seconds: &[Second], warmup_s: u64) -> String {
    let columns = columns(seconds);
    let used = |row: &usize| columns.iter().any(|column| column.get(*row).is_some_and(|count| *count > 0));
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let (Some(first), Some(last)) = ((0..rows).find(used), (0..rows).rev().find(used)) else {
        return figure(TITLE, "", "<p class=\"empty\">no requests but streams</p>");
    };
    let most = columns.iter().flatten().copied().max().unwrap_or(1);
    let frame = Frame::FULL;
    let rows = (last - first + 1) as f64;
    let mut body = frame.warmup(warmup_s, seconds.len());
    body.push_str(&cells(&frame, &columns, first, rows, most, seconds.len()));
    let step = ((last - first + 1) / 9).max(1);
    for edge in (first..=last + 1).step_by(step) {
        body.push_str(&frame.row((edge - first) as f64 / rows, &time(edge)));
    }
    body.push_str(&frame.time_axis(seconds.len()));
    figure(TITLE, &legend(most), &frame.svg(TITLE, &body))
}

/// Counts by merged seconds.
fn columns(seconds: &[Second]) -> Vec<Vec<u64>> {
    let chunk = seconds.len().div_ceil(COLUMNS_MAX).max(1);
    let merge = |seconds: &[Second]| {
        let mut counts = Vec::new();
        for buckets in seconds.iter().map(|second| &second.first_byte_buckets) {
            counts.resize(counts.len().max(buckets.len()), 0);
            counts.iter_mut().zip(buckets).for_each(|(sum, count)| *sum += u64::from(*count));
        }
        counts
    };
    seconds.chunks(chunk).map(merge).collect()
}

fn cells(frame: &Frame, columns: &[Vec<u64>], first: usize, rows: f64, most: u64, seconds: usize) -> String {
    let chunk = seconds.div_ceil(COLUMNS_MAX).max(1);
    let (width, height) = ((frame.right - frame.left) / columns.len() as f64, (frame.bottom - frame.top) / rows);
    let mut cells = String::new();
    for (column, counts) in columns.iter().enumerate() {
        for (row, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let x = frame.left + column as f64 * width;
            let y = frame.y((row - first + 1) as f64 / rows);
            let told = format!("{} s, {} to {}: {count} requests", column * chunk, time(row), time(row + 1));
            let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.2}\"");
            let shade = shade(*count, most);
            let _ = write!(cells, "<rect class=\"h{shade}\" {place}><title>{}</title></rect>", escape(&told));
        }
    }
    cells
}

/// By the logarithm, or the rare slow ones would not be seen beside the many fast ones.
fn shade(count: u64, most: u64) -> usize {
    let share = ratio((count as f64).ln(), (most as f64).ln()).unwrap_or(1.0);
    ((share * SHADES as f64) as usize).min(SHADES - 1)
}

/// Fewest requests of a shade.
fn fewest(shade: usize, most: u64) -> u64 {
    (most as f64).powf(shade as f64 / SHADES as f64).ceil() as u64
}

/// Lower bound of a bucket.
fn time(bucket: usize) -> String {
    show(2_f64.powi(bucket as i32) / 1000.0, Unit::Milliseconds)
}

fn legend(most: u64) -> String {
    let shade = |shade: usize| {
        let fewest = fewest(shade, most);
        format!("<span><i class=\"swatch h{shade}\"></i>{}</span>", show(fewest as f64, Unit::Count))
    };
    // Every other shade: with few requests, neighbours begin at the same count.
    let shades: String = (0..SHADES).step_by(2).map(shade).collect();
    let last = format!("<span>to {}</span>", show(most as f64, Unit::Count));
    format!("<p class=\"legend\"><span>requests, from</span>{shades}{last}</p>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_follow_the_logarithm() {
        assert_eq!(shade(1, 1), SHADES - 1);
        assert_eq!([1, 2, 16, 256].map(|count| shade(count, 256)), [0, 1, 4, 7]);
        assert_eq!([0, 4].map(|shade| fewest(shade, 256)), [1, 16]);
    }

    #[test]
    fn merged_seconds_add_up() {
        let second = |counts: &[u32]| Second { first_byte_buckets: counts.to_vec(), ..Second::default() };
        let mut seconds = vec![second(&[1, 2]); COLUMNS_MAX];
        seconds.extend(vec![second(&[0, 0, 4]); COLUMNS_MAX]);
        let columns = columns(&seconds);
        assert_eq!(columns.len(), COLUMNS_MAX);
        assert_eq!((&columns[0], &columns[COLUMNS_MAX - 1]), (&vec![2, 4], &vec![0, 0, 8]));
    }
}
