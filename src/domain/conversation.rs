//! A lead's conversation as text for Bigin's Description.

use std::borrow::Cow;

use jiff::Zoned;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::datetime::moment;
use super::text::count;

/// Longest conversation that is sent, of the 32,000 characters Description takes: the rest is for what a mapping writes
/// around it.
pub const LIMIT: usize = 30_000;

const BLANK_LINE: &str = "\n\n";

/// The length as Bigin is taken to count it. Its documentation does not say what a character is; it is a Java service,
/// and there a string's length is in UTF-16 units, which is never less than any other usual count of characters.
pub fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Whether a text is at most `limit` long. No character takes more units than bytes, so that most need not be counted.
pub fn fits(text: &str, limit: usize) -> bool {
    text.len() <= limit || length(text) <= limit
}

/// Writes a conversation out, one paragraph a message: `[27/10/2025, 14:03:22] AI: Good afternoon`.
///
/// `value` is an array of `{timestamp, from, message}`, JSON text of one, or plain text, which is kept as it is. A
/// message without a time has no bracket, one whose time cannot be read shows it as written, and one without text is
/// skipped. Of a conversation longer than `limit` the newest messages are kept, after a line that says how many are not.
///
/// Where there is nothing to tell the result is empty, so that the field is left out: an upsert of an existing contact
/// would overwrite what its Description says with a remark like "No conversation history available".
pub fn conversation(value: &Value, zone: &TimeZone, limit: usize) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(messages) => newest(&paragraphs(messages, zone), limit),
        Value::Object(_) => newest(&paragraphs(std::slice::from_ref(value), zone), limit),
        Value::String(text) => match embedded(text) {
            Some(inner) => conversation(&inner, zone, limit),
            None => end(text.trim(), limit),
        },
        other => end(&other.to_string(), limit),
    }
}

/// The end of a text that is too long, after a line that says how much is not there.
pub fn end(text: &str, limit: usize) -> String {
    if fits(text, limit) {
        return text.to_owned();
    }
    let notice = |left_out: usize| format!("[… {} left out]{BLANK_LINE}", count(left_out, "older character"));
    let total = text.chars().count();
    // The notice of the whole text is at least as long as that of a part.
    let room = limit.saturating_sub(length(&notice(total)));
    let kept = suffix(text, room).trim_start();
    if kept.is_empty() {
        return suffix(text, limit).to_owned();
    }
    notice(total - kept.chars().count()) + kept
}

/// The array or object that a text holds in JSON.
fn embedded(text: &str) -> Option<Value> {
    let json = text.trim_start().starts_with(['[', '{']);
    json.then(|| serde_json::from_str(text).ok()).flatten()
}

fn paragraphs(messages: &[Value], zone: &TimeZone) -> Vec<String> {
    let time = |message: &Value| moment(message.get("timestamp")?, zone);
    let times: Vec<_> = messages.iter().map(time).collect();
    let written = messages.iter().zip(&times);
    let mut paragraphs: Vec<_> = written
        .filter_map(|(message, at)| paragraph(message, at.as_ref()))
        .collect();
    if is_newest_first(&times) {
        paragraphs.reverse();
    }
    paragraphs
}

/// Whether every message has a time and none is later than the one before it. Anything less clear stays in the array's
/// order, which is the one the dashboard shows.
fn is_newest_first(times: &[Option<Zoned>]) -> bool {
    times.iter().all(Option::is_some) && times.is_sorted_by(|a, b| a >= b) && times.first() != times.last()
}

/// A message, where there is something in it; `at` is its timestamp, where that can be read.
fn paragraph(message: &Value, at: Option<&Zoned>) -> Option<String> {
    match message {
        Value::Object(parts) => {
            let said = text(parts.get("message")?)?;
            Some([&bracket(parts, at), sender(parts), ": ", &said].concat())
        }
        other => text(other).map(Cow::into_owned),
    }
}

/// A part's text, or JSON where it is not text; `None` where there is nothing in it.
fn text(part: &Value) -> Option<Cow<'_, str>> {
    let text = match part {
        Value::Null => return None,
        Value::String(text) => Cow::Borrowed(text.trim()),
        other => Cow::Owned(other.to_string()),
    };
    (!text.is_empty()).then_some(text)
}

fn bracket(parts: &Map<String, Value>, at: Option<&Zoned>) -> String {
    match at {
        Some(at) => at.strftime("[%d/%m/%Y, %H:%M:%S] ").to_string(),
        None => match parts.get("timestamp").and_then(text) {
            Some(time) => format!("[{time}] "),
            None => String::new(),
        },
    }
}

fn sender(parts: &Map<String, Value>) -> &'static str {
    let from = parts.get("from").and_then(Value::as_str).unwrap_or_default();
    if from.trim().eq_ignore_ascii_case("ai") {
        "AI"
    } else {
        "Lead"
    }
}

/// As many whole paragraphs from the end as fit, but at least a piece of the last one.
fn newest(paragraphs: &[String], limit: usize) -> String {
    if total(paragraphs, str::len) <= limit || total(paragraphs, length) <= limit {
        return paragraphs.join(BLANK_LINE);
    }
    let mut first_kept = None;
    let mut taken = 0;
    for (left_out, paragraph) in paragraphs.iter().enumerate().skip(1).rev() {
        taken += length(paragraph);
        if length(&older(left_out)) + taken > limit {
            break;
        }
        taken += BLANK_LINE.len();
        first_kept = Some(left_out);
    }
    match (first_kept, paragraphs) {
        (Some(first), _) => older(first) + &paragraphs[first..].join(BLANK_LINE),
        (None, [before @ .., last]) => beginning(last, &older(before.len()), limit),
        (None, []) => String::new(),
    }
}

fn total(paragraphs: &[String], length: impl Fn(&str) -> usize) -> usize {
    let lengths: usize = paragraphs
        .iter()
        .map(|paragraph| length(paragraph) + BLANK_LINE.len())
        .sum();
    lengths.saturating_sub(BLANK_LINE.len())
}

/// The line that stands for the messages before the kept ones, with the blank line after it.
fn older(left_out: usize) -> String {
    match left_out {
        0 => String::new(),
        _ => format!("[… {} left out]{BLANK_LINE}", count(left_out, "older message")),
    }
}

/// The beginning of a message that is too long by itself, after the line about those before it.
fn beginning(message: &str, notice: &str, limit: usize) -> String {
    const CUT: &str = " [… rest of this message left out]";
    match limit.checked_sub(length(notice) + length(CUT)) {
        Some(room) if room > 0 => format!("{notice}{}{CUT}", prefix(message, room).trim_end()),
        _ => prefix(message, limit).to_owned(),
    }
}

/// The longest beginning that is at most `limit` long and ends between characters.
fn prefix(text: &str, limit: usize) -> &str {
    let mut room = limit;
    let over = |c: char| {
        let fits = c.len_utf16() <= room;
        room = room.saturating_sub(c.len_utf16());
        !fits
    };
    &text[..text.find(over).unwrap_or(text.len())]
}

/// The longest end that is at most `limit` long and begins between characters.
fn suffix(text: &str, limit: usize) -> &str {
    let mut room = limit;
    let mut over = |c: char| {
        let fits = c.len_utf16() <= room;
        room = room.saturating_sub(c.len_utf16());
        !fits
    };
    let start = text
        .char_indices()
        .rev()
        .find(|(_, c)| over(*c))
        .map_or(0, |(at, c)| at + c.len_utf8());
    &text[start..]
}

#[cfg(test)]
mod tests;
