//! The report as a table for the terminal and as a JSON document.

use serde_json::{Value, json};

use super::Report;
use super::finding::{Finding, Outcome};
use crate::cli::text::{count, plain};

/// With a line break at its end.
pub(in crate::cli) fn table(report: &Report, colours: bool) -> String {
    let mut lines = Vec::new();
    let mut group = None;
    for finding in &report.findings {
        if group != Some(finding.group) {
            group = Some(finding.group);
            lines.extend([String::new(), finding.group.heading().to_owned()]);
        }
        lines.extend(finding_rows(finding, colours));
    }
    if let Some(lead) = &report.lead {
        lines.extend([String::new(), format!("Fields to send for {}", lead.id)]);
        for (field, shown) in &lead.fields {
            let value = shown.value.as_deref().map(|value| format!(": {}", plain(value)));
            let length = count(shown.length, "character");
            lines.push(format!(
                "  {field:<20} {}, {length}{}",
                shown.kind,
                value.unwrap_or_default()
            ));
        }
    }
    lines.extend([String::new(), totals(&report.findings)]);
    lines.remove(0);
    lines.join("\n") + "\n"
}

/// The rows of findings, without headings and colours.
pub(in crate::cli) fn rows(findings: &[Finding]) -> String {
    let rows = findings.iter().flat_map(|finding| finding_rows(finding, false));
    rows.map(|row| row + "\n").collect()
}

fn finding_rows(finding: &Finding, colours: bool) -> Vec<String> {
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
    let more = [("Why", &finding.why), ("Fix", &finding.action)];
    let more = more
        .into_iter()
        .filter_map(|(label, text)| Some((label, text.as_ref()?)));
    rows.extend(more.map(|(label, text)| format!("{:28}{label}: {}", "", plain(text))));
    rows
}

/// The number of findings by outcome, the ones to act on first.
fn totals(findings: &[Finding]) -> String {
    let number = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    let totals = [
        (Outcome::Failed, "failed"),
        (Outcome::Warning, "warning"),
        (Outcome::Ok, "passed"),
        (Outcome::Skipped, "skipped"),
    ];
    let totals = totals.map(|(outcome, word)| match (number(outcome), outcome) {
        (0, _) => None,
        (number, Outcome::Warning) => Some(count(number, word)),
        (number, _) => Some(format!("{number} {word}")),
    });
    totals.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `{"ok", "findings": [{"group", "check", "outcome", "what", "why", "action"}], "lead"}`.
pub(super) fn document(report: &Report) -> Value {
    let lead = report.lead.as_ref();
    let lead = lead.map(|lead| json!({ "id": lead.id, "fields": lead.fields }));
    json!({ "ok": report.is_ok(), "findings": report.findings, "lead": lead })
}
