//! Cuts a query into words.

use super::error::GroqError;

/// A word of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Param(String),
    Text(String),
    Number(f64),
    Sign(&'static str),
}

/// Longer signs first: `...` begins with `..`.
const SIGNS: [&str; 21] = [
    "...", "..", "==", "!=", "<=", ">=", "&&", "||", "*", "[", "]", "(", ")", "{", "}", ",", "|", "<", ">", "!", "-",
];

/// The words with the places they begin at.
pub(super) fn lex(query: &str) -> Result<Vec<(usize, Token)>, GroqError> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while !rest.is_empty() {
        let at = query.len() - rest.len();
        let (token, length) = next(rest).ok_or_else(|| GroqError::at(at, "the fake's GROQ does not know this"))?;
        tokens.push((at, token));
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

/// The first word and its length in bytes.
fn next(text: &str) -> Option<(Token, usize)> {
    let first = text.chars().next()?;
    if matches!(first, '"' | '\'') {
        return quoted(text, first);
    }
    if first.is_ascii_digit() {
        return number(text);
    }
    if let Some(name) = text.strip_prefix('$').map(name).filter(|name| !name.is_empty()) {
        return Some((Token::Param(name.to_owned()), name.len() + 1));
    }
    let word = name(text);
    if !word.is_empty() {
        return Some((Token::Name(word.to_owned()), word.len()));
    }
    let sign = SIGNS.into_iter().find(|sign| text.starts_with(sign))?;
    Some((Token::Sign(sign), sign.len()))
}

fn name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    text.split_at(end.unwrap_or(text.len())).0
}

/// Digits, with a fraction only where a digit follows the point: `0...2` is a slice.
fn number(text: &str) -> Option<(Token, usize)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut length = digits(text);
    let fraction = text.get(length..)?.strip_prefix('.').map_or(0, digits);
    if fraction > 0 {
        length += 1 + fraction;
    }
    let number = text.get(..length)?.parse().ok()?;
    Some((Token::Number(number), length))
}

/// Text in either kind of quotes, with the escapes of JSON that matter here.
fn quoted(text: &str, quote: char) -> Option<(Token, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((Token::Text(value), at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                c @ ('\\' | '"' | '\'' | '/') => value.push(c),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}
