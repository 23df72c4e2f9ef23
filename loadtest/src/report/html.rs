//! A result as one HTML file that needs nothing else: no script, no font, no image from anywhere.
//!
//! It is well-formed XML too, so that a test can hold it against a parser.

use super::format::escape;
use super::tables::Table;
use super::{charts, tables, text};
use crate::result::RunResult;
use crate::scenario::Scenario;

/// The report with plots.
pub fn report(result: &RunResult) -> String {
    let mut body = heading(result);
    let (lists, wide): (Vec<Table>, Vec<Table>) = tables::tables(result).into_iter().partition(Table::is_list);
    body.extend(wide.iter().map(Table::html));
    body.push_str(&format!("<div class=\"lists\">{}</div>\n", lists.iter().map(Table::html).collect::<String>()));
    body.push_str(&charts::report(result));
    body.push_str(&tables::environment(&result.environment).html());
    body.push_str(&scenario(&result.scenario));
    page(&format!("{}: {}", result.scenario.name, text::verdict(result)), &body)
}

fn heading(result: &RunResult) -> String {
    let verdict = text::verdict(result);
    let reasons: String = text::reasons(result).iter().map(|reason| format!("<li>{}</li>", escape(reason))).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!("<ul class=\"reasons\">{reasons}</ul>") };
    let notes: String = text::notes(result).iter().map(|note| format!("<p>Note: {}</p>", escape(note))).collect();
    format!(
        "<header><h1>{} <span class=\"verdict {}\">{verdict}</span></h1><p>{}</p>{reasons}{notes}</header>\n",
        escape(&result.scenario.name),
        verdict.to_lowercase(),
        escape(&text::subtitle(result)),
    )
}

/// The scenario as TOML, folded.
fn scenario(scenario: &Scenario) -> String {
    // TOML knows no number above 2^63, such as a seed may be; JSON says the same.
    let text = toml::to_string_pretty(scenario).or_else(|_| serde_json::to_string_pretty(scenario)).unwrap_or_default();
    format!("<section><details><summary>Scenario</summary><pre>{}</pre></details></section>\n", escape(&text))
}

/// A whole page around a body that is HTML already.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{}</title><style>{STYLE}</style></head>\n<body><main>\n{body}</main></body></html>\n",
        escape(title)
    )
}

/// Holds neither `<` nor `&`, which XML would take for its own.
const STYLE: &str = include_str!("style.css");
