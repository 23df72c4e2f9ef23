//! Reports of results and comparisons of two, as text for a terminal and as one self-contained HTML file.
//!
//! ```text
//!  RunResult ─┬► figures ─► tables ─┬► text
//!             │     └► compare ─────┤
//!             └► charts ─► plot, heatmap, distribution ─► html
//! ```
//! What it deliberately does not do: measure or judge. The verdict is the result's own; a figure that the result lacks is shown as a dash.

pub mod charts;
pub mod compare;
pub mod distribution;
pub mod figures;
pub mod format;
pub mod heatmap;
pub mod html;
pub mod plot;
#[cfg(test)]
pub(crate) mod sample;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod text;

use crate::result::{RunResult, VERSION};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `loadtest report`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// What a run has written.
    result: PathBuf,
    /// Write the report with plots to this file too.
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Options of `loadtest compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    /// The result that is compared with.
    a: PathBuf,
    /// The result that is compared: ratios are B over A.
    b: PathBuf,
    /// Write the comparison with plots to this file too.
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Prints a result, and writes it as HTML where asked to. Fails when a file cannot be read or written.
pub fn run_report(args: &ReportArgs) -> Result<()> {
    let result = read(&args.result)?;
    print!("{}", text::report(&result));
    write(args.html.as_deref(), || html::report(&result))
}

/// Prints a comparison, and writes it as HTML where asked to. Fails when a file cannot be read or written.
pub fn run_compare(args: &CompareArgs) -> Result<()> {
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    print!("{}", compare::text(&a, &b));
    write(args.html.as_deref(), || compare::html(&a, &b))
}

/// A result from its JSON file. Fails when it is none, or one of another version.
pub fn read(path: &Path) -> Result<RunResult> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let result: RunResult = serde_json::from_str(&text).with_context(|| format!("{} is no result", path.display()))?;
    let version = result.version;
    ensure!(version == VERSION, "{} is a result of version {version}, not {VERSION}", path.display());
    Ok(result)
}

fn write(path: Option<&Path>, page: impl FnOnce() -> String) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, page()).with_context(|| format!("cannot write {}", path.display()))
}
