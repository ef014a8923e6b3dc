//! The findings as a table for people and as one document for machines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Report;
use super::finding::{Finding, Outcome};
use crate::cli::api::plain;

/// Where the text of a finding begins.
const INDENT: &str = "                 ";

/// For people, with a line break at its end.
pub(super) fn table(report: &Report, colours: bool) -> String {
    let mut lines = Vec::new();
    let mut group = None;
    for finding in &report.findings {
        if group != Some(finding.group) {
            group = Some(finding.group);
            lines.extend([String::new(), finding.group.heading().to_owned()]);
        }
        lines.extend(rows(finding, colours));
    }
    if let Some(lead) = &report.lead {
        lines.extend([String::new(), format!("What would be sent for {}", lead.id)]);
        for (field, shown) in &lead.fields {
            let value = shown.value.as_deref().map(|value| format!(": {}", plain(value)));
            let (kind, length) = (shown.kind, shown.length);
            lines.push(format!(
                "  {field:<20} {kind}, {length} characters{}",
                value.unwrap_or_default()
            ));
        }
    }
    let sum: Vec<String> = counts(&report.findings)
        .into_iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    lines.extend([String::new(), sum.join(", ")]);
    lines.remove(0);
    lines.join("\n") + "\n"
}

pub(super) fn rows(finding: &Finding, colours: bool) -> Vec<String> {
    let (word, colour) = match finding.outcome {
        Outcome::Ok => ("ok", "32"),
        Outcome::Warning => ("warning", "33"),
        Outcome::Failed => ("FAILED", "31"),
        Outcome::Skipped => ("skipped", "2"),
    };
    let word = format!("{word:<7}");
    let word = match colours {
        true => format!("\x1b[{colour}m{word}\x1b[0m"),
        false => word,
    };
    let mut rows = vec![format!("  {word}  {:<15}  {}", finding.check, plain(&finding.what))];
    let said = [("why ", &finding.why), ("do: ", &finding.todo)];
    let said = said.into_iter().filter_map(|(word, text)| Some((word, text.as_ref()?)));
    rows.extend(said.map(|(word, text)| format!("{INDENT}           {word} {}", plain(text))));
    rows
}

/// How many findings of each kind there are, those that need somebody first.
fn counts(findings: &[Finding]) -> Vec<(&'static str, usize)> {
    let kinds = [
        (Outcome::Failed, "failed"),
        (Outcome::Warning, "to look at"),
        (Outcome::Ok, "well"),
        (Outcome::Skipped, "not looked at"),
    ];
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let counted = kinds.map(|(outcome, word)| (word, count(outcome)));
    counted.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// For machines: `{"well", "findings": [{"group", "check", "outcome", "what", "why", "todo"}], "lead"}`.
pub(super) fn document(report: &Report) -> Value {
    let lead = report.lead.as_ref().map(|lead| {
        let fields: BTreeMap<_, _> = lead.fields.iter().collect();
        json!({ "id": lead.id, "fields": fields })
    });
    json!({ "well": report.is_well(), "findings": report.findings, "lead": lead })
}
