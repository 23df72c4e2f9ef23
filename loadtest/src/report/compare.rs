//! Two results side by side: figures with ratios, what differs in scenario and environment, and whether they may be compared at all.
//!
//! What it deliberately does not do: tell a difference from chance. Two runs cannot; interleaved rounds can (see [`crate::rounds`]).

use super::figures::{Better, Figure, figures};
use super::format::{NONE, escape, printable, show_some};
use super::tables::Table;
use super::{charts, html, text};
use crate::result::RunResult;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Changes below this share are not called better or worse. It keeps the eye on what is large, and says nothing of chance.
const NOTED: f64 = 0.02;

/// One figure of both results.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// From A where A has it.
    pub figure: Figure,
    pub a: Option<f64>,
    pub b: Option<f64>,
}

/// What is set differently, by path as in the JSON: `environment.kernel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub a: String,
    pub b: String,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub rows: Vec<Row>,
    pub differences: Vec<Difference>,
    /// Why the figures may not be comparable; empty: nothing is known against it.
    pub warnings: Vec<String>,
}

impl Row {
    /// B over A; `None` where one lacks or A is 0.
    pub fn ratio(&self) -> Option<f64> {
        let (a, b) = self.a.zip(self.b)?;
        (a != 0.0).then(|| b / a)
    }

    /// `better` or `worse` for B, where the change is large enough to be noted and the figure has a good side.
    pub fn judged(&self) -> Option<&'static str> {
        let (a, b) = self.a.zip(self.b)?;
        let lower_is_better = match self.figure.better {
            Better::Lower => true,
            Better::Higher => false,
            Better::Neither => return None,
        };
        let noted = (b - a).abs() > NOTED * a.abs();
        noted.then_some(if (b < a) == lower_is_better { "better" } else { "worse" })
    }
}

/// Holds B against A.
pub fn compare(a: &RunResult, b: &RunResult) -> Comparison {
    let differences = differences(a, b);
    let warnings = warnings(a, b, &differences);
    Comparison { rows: rows(a, b), differences, warnings }
}

/// The comparison for a terminal.
pub fn text(a: &RunResult, b: &RunResult) -> String {
    let comparison = compare(a, b);
    let mut text = format!("A: {}\nB: {}\n", title(a), title(b));
    for table in [figure_table(&comparison), difference_table(&comparison)] {
        if !table.rows.is_empty() {
            text.push_str(&format!("\n{}", table.text()));
        }
    }
    if !comparison.warnings.is_empty() {
        text.push_str("\nWARNING: not comparable without a second thought\n");
        text.extend(comparison.warnings.iter().map(|warning| format!("  {warning}\n")));
    }
    text.push_str(&format!("\n{CHANCE}\n"));
    printable(&text)
}

/// The comparison as one HTML file.
pub fn html(a: &RunResult, b: &RunResult) -> String {
    let comparison = compare(a, b);
    let names = format!("<p>A: {}<br/>B: {}</p><p>{CHANCE}</p>", escape(&title(a)), escape(&title(b)));
    let mut body = format!("<header><h1>Comparison</h1>{names}</header>\n");
    if !comparison.warnings.is_empty() {
        let items: String = comparison.warnings.iter().map(|warning| format!("<li>{}</li>", escape(warning))).collect();
        let lead = "<strong>Not comparable without a second thought</strong>";
        body.push_str(&format!("<div class=\"warnings\">{lead}<ul>{items}</ul></div>\n"));
    }
    // Cells are escaped, so that these can only be the last column's.
    let coloured = |judged: &str, html: String| {
        html.replace(&format!("<td>{judged}</td>"), &format!("<td class=\"{judged}\">{judged}</td>"))
    };
    let figures = coloured("worse", coloured("better", figure_table(&comparison).html()));
    body.push_str(&figures);
    body.push_str(&charts::comparison(a, b));
    let differences = difference_table(&comparison);
    if !differences.rows.is_empty() {
        body.push_str(&differences.html());
    }
    html::page("Comparison", &body)
}

const CHANCE: &str =
    "Ratios are B over A, of one run each: what is chance and what is not, only interleaved rounds tell.";

fn title(result: &RunResult) -> String {
    let command = result.environment.server_command.as_deref().unwrap_or("server not known");
    format!("{}, {}, {}; {command}", result.scenario.name, text::verdict(result), text::subtitle(result))
}

/// All figures of A, and those that only B has behind them.
fn rows(a: &RunResult, b: &RunResult) -> Vec<Row> {
    let (of_a, of_b) = (figures(a), figures(b));
    let same = |x: &Figure, y: &Figure| x.section == y.section && x.name == y.name;
    let mut rows: Vec<Row> = Vec::new();
    for figure in &of_a {
        let b = of_b.iter().find(|other| same(other, figure)).and_then(|other| other.value);
        rows.push(Row { figure: figure.clone(), a: figure.value, b });
    }
    for figure in of_b.iter().filter(|figure| !of_a.iter().any(|other| same(other, figure))) {
        rows.push(Row { figure: figure.clone(), a: None, b: figure.value });
    }
    rows.retain(|row| row.a.is_some() || row.b.is_some());
    rows
}

fn figure_table(comparison: &Comparison) -> Table {
    let row = |row: &Row| {
        let figure = &row.figure;
        let ratio = row.ratio().map_or_else(|| NONE.to_owned(), |ratio| format!("{ratio:.3}"));
        vec![
            figure.section.clone(),
            figure.name.clone(),
            row.judged().unwrap_or_default().to_owned(),
            show_some(row.a, figure.unit),
            show_some(row.b, figure.unit),
            ratio,
        ]
    };
    let head = ["of", "figure", "B is", "A", "B", "B/A"].map(str::to_owned).to_vec();
    Table { title: "Figures".to_owned(), head, rows: comparison.rows.iter().map(row).collect(), words: 3 }
}

fn difference_table(comparison: &Comparison) -> Table {
    let row = |difference: &Difference| vec![difference.what.clone(), difference.a.clone(), difference.b.clone()];
    let head = ["what", "A", "B"].map(str::to_owned).to_vec();
    let rows = comparison.differences.iter().map(row).collect();
    Table { title: "What was set differently".to_owned(), head, rows, words: 3 }
}

fn differences(a: &RunResult, b: &RunResult) -> Vec<Difference> {
    let mut leaves: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    for (side, result) in [a, b].into_iter().enumerate() {
        collect("environment", &json(&result.environment), side, &mut leaves);
        collect("scenario", &json(&result.scenario), side, &mut leaves);
    }
    let shown = |value: Option<String>| value.unwrap_or_else(|| NONE.to_owned());
    let differing = leaves.into_iter().filter(|(what, [a, b])| a != b && what != "environment.begun");
    differing.map(|(what, [a, b])| Difference { what, a: shown(a), b: shown(b) }).collect()
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Leaves of a document, by path.
fn collect(path: &str, value: &Value, side: usize, leaves: &mut BTreeMap<String, [Option<String>; 2]>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| collect(&format!("{path}.{name}"), value, side, leaves))
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| collect(&format!("{path}[{index}]"), value, side, leaves));
        }
        Value::Null => {}
        Value::String(text) => leaves.entry(path.to_owned()).or_default()[side] = Some(text.clone()),
        other => leaves.entry(path.to_owned()).or_default()[side] = Some(other.to_string()),
    }
}

fn warnings(a: &RunResult, b: &RunResult, differences: &[Difference]) -> Vec<String> {
    let mut warnings: Vec<String> = differences
        .iter()
        .filter(|difference| moves_figures(&difference.what))
        .map(|difference| format!("{} differs: {} and {}", difference.what, difference.a, difference.b))
        .collect();
    if (a.measured_s - b.measured_s).abs() > 0.05 * a.measured_s.max(b.measured_s) {
        warnings.push(format!("{:.0} s were measured of A and {:.0} s of B", a.measured_s, b.measured_s));
    }
    let counts = |result: &RunResult| result.server.as_ref().is_some_and(|server| server.syscalls.is_some());
    if counts(a) != counts(b) {
        let side = if counts(a) { "A" } else { "B" };
        warnings.push(format!("system calls were counted in {side} alone, which makes them slower"));
    }
    for (side, result) in [("A", a), ("B", b)] {
        warnings.extend(
            result.harness.refused.iter().map(|why| format!("the harness refuses its result of {side}: {why}")),
        );
        let broken = result.violations.len();
        if broken > 0 {
            warnings
                .push(format!("{side} sent broken content ({broken} rules), and what is broken may be cheap to send"));
        }
    }
    warnings
}

/// Servers differ because they are compared; names, addresses and bounds move nothing.
fn moves_figures(what: &str) -> bool {
    let harmless = ["environment.server_command", "scenario.name", "scenario.target"];
    !harmless.contains(&what) && !what.starts_with("scenario.slo.")
}
