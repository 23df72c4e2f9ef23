//! What the relay says of itself: `/metrics` on its admin address, Prometheus text format 0.0.4, as far as experiments need it.

use super::media;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Samples of one scrape.
pub struct Metrics(String);

impl Metrics {
    /// # Errors
    /// The relay does not answer, or with what is no text.
    pub fn scrape(admin: SocketAddr) -> Result<Metrics> {
        Ok(Metrics(String::from_utf8(media::get(admin, "/metrics")?).context("metrics that are no text")?))
    }

    /// Sum of a metric over all its labels; 0 where there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.samples(name).map(|(_, value)| value).sum()
    }

    /// Sums of a metric by the value of one label.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.samples(name) {
            let quoted = labels.split(',').find_map(|pair| pair.strip_prefix(label)?.strip_prefix("=\""));
            let Some(of) = quoted.and_then(|rest| rest.strip_suffix('"')) else { continue };
            *sums.entry(of.to_owned()).or_insert(0.0) += value;
        }
        sums
    }

    /// Labels without their braces, and the value.
    fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let labels = if labels.is_empty() { "" } else { labels.strip_prefix('{')?.strip_suffix('}')? };
            Some((labels, value.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_label_and_names_are_whole() {
        let text = "# TYPE sent counter\nsent{format=\"ts\",shard=\"0\"} 5\nsent{format=\"ts\",shard=\"1\"} 7\n\
            sent{format=\"hls\",shard=\"1\"} 1.5\nsent_more{shard=\"1\"} 100\nup 3\n";
        let metrics = Metrics(text.into());
        assert_eq!(metrics.sum("sent"), 13.5);
        assert_eq!(metrics.sum("up"), 3.0);
        assert_eq!(metrics.sum("absent"), 0.0);
        let by_shard = metrics.by_label("sent", "shard");
        assert_eq!(by_shard.into_iter().collect::<Vec<_>>(), [("0".into(), 5.0), ("1".into(), 8.5)]);
    }
}
