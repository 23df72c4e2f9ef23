//! Lines two lists of access units up and counts where they differ.

use super::Unit;
use std::fmt::Write;

/// How two readings of one track differ; all zero when they agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Units that only they have.
    pub missing: usize,
    /// Units that only we have.
    pub extra: usize,
    /// Units of both with another PTS, DTS, size or key flag.
    pub pts: usize,
    pub dts: usize,
    pub size: usize,
    pub key: usize,
}

/// Counts the differences along the best alignment.
pub fn compare(ours: &[Unit], theirs: &[Unit]) -> Difference {
    let mut difference = Difference::default();
    for pair in align(ours, theirs) {
        match pair {
            (None, _) => difference.missing += 1,
            (_, None) => difference.extra += 1,
            (Some(a), Some(b)) => {
                difference.pts += usize::from(a.pts != b.pts);
                difference.dts += usize::from(a.dts != b.dts);
                difference.size += usize::from(a.size != b.size);
                difference.key += usize::from(a.key != b.key);
            }
        }
    }
    difference
}

/// The first differing pairs, as text.
pub fn show(ours: &[Unit], theirs: &[Unit]) -> String {
    let mut text = format!("    {} of ours, {} of theirs\n", ours.len(), theirs.len());
    let same = |a: &Unit, b: &Unit| (a.pts, a.dts, a.size, a.key) == (b.pts, b.dts, b.size, b.key);
    let differ = align(ours, theirs).into_iter().enumerate().filter(|(_, pair)| match pair {
        (Some(a), Some(b)) => !same(a, b),
        _ => true,
    });
    for (at, (a, b)) in differ.take(12) {
        let _ = writeln!(text, "    {at}: ours {}, theirs {}", line(a), line(b));
    }
    text
}

fn line(unit: Option<&Unit>) -> String {
    let time = |t: Option<u64>| t.map_or("-".into(), |t| t.to_string());
    unit.map_or("none".into(), |u| {
        format!("pts {} dts {} size {}{}", time(u.pts), time(u.dts), u.size, if u.key { " key" } else { "" })
    })
}

/// The alignment that pairs most: an equal PTS counts more than an equal size, and a pair without either counts nothing.
fn align<'a>(ours: &'a [Unit], theirs: &'a [Unit]) -> Vec<(Option<&'a Unit>, Option<&'a Unit>)> {
    let width = theirs.len() + 1;
    let mut best = vec![0u32; (ours.len() + 1) * width];
    for i in (0..ours.len()).rev() {
        for j in (0..theirs.len()).rev() {
            let skip = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let pair = likeness(&ours[i], &theirs[j]) + best[(i + 1) * width + j + 1];
            best[i * width + j] = skip.max(pair);
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < ours.len() || j < theirs.len() {
        let here = best[i * width + j];
        let paired = i < ours.len() && j < theirs.len() && likeness(&ours[i], &theirs[j]) > 0;
        if paired && here == likeness(&ours[i], &theirs[j]) + best[(i + 1) * width + j + 1] {
            pairs.push((Some(&ours[i]), Some(&theirs[j])));
            (i, j) = (i + 1, j + 1);
        } else if i < ours.len() && here == best[(i + 1) * width + j] {
            pairs.push((Some(&ours[i]), None));
            i += 1;
        } else {
            pairs.push((None, Some(&theirs[j])));
            j += 1;
        }
    }
    pairs
}

fn likeness(a: &Unit, b: &Unit) -> u32 {
    let same_pts = a.pts.is_some() && a.pts == b.pts;
    2 * u32::from(same_pts) + u32::from(a.size == b.size)
}
