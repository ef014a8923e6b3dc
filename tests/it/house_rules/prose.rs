//! Prose is never data: no module looks into a sentence that another one made.

use proc_macro2::{Delimiter, Literal, TokenTree};

use super::source::{Source, is_punct, of_this_package};
use super::{assert_kept, check, is_within};

/// What looks into a text.
const LOOKS: &[&str] = &[
    "contains",
    "ends_with",
    "eq_ignore_ascii_case",
    "find",
    "matches",
    "replace",
    "replacen",
    "rfind",
    "rsplit",
    "rsplit_once",
    "rsplitn",
    "split",
    "split_once",
    "split_terminator",
    "splitn",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
    "trim_end_matches",
    "trim_start_matches",
];

/// These read what has no codes: a query, SQL, Bigin's message.
const PLACES: &[&str] = &["bigin::item", "cli::doctor::webhook_rule", "fake", "store::session"];

#[test]
fn no_module_parses_prose() {
    assert_kept(prose(&of_this_package()));
}

/// Words with a space between them, or with a colon or semicolon and a space, are prose.
fn is_prose(literal: &str) -> bool {
    let text = literal.trim_start_matches('r').trim_matches(['#', '"']);
    let between = text.trim().contains(' ');
    between || matches!(text, ": " | "; " | ", ")
}

fn prose(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        if PLACES.iter().any(|place| is_within(&source.module, place)) {
            continue;
        }
        source.walk(&mut |tokens, at| {
            for (way, literal) in looks(tokens, at) {
                let (line, text) = (literal.span().start().line, literal.to_string());
                if source.is_program() && !source.is_test_line(line) && text.starts_with(['"', 'r']) && is_prose(&text)
                {
                    faults.push(format!(
                        "{}:{line}: {way} {text} looks into a sentence; give the type a field or a code",
                        source.path
                    ));
                }
            }
        });
    }
    faults
}

/// The literals that the token at a place compares texts with: the argument of a call that searches or splits, an operand of
/// `==` or `!=`, and the pattern before `=>` or in `matches!`.
fn looks(tokens: &[TokenTree], at: usize) -> Vec<(String, Literal)> {
    let named = |way: &str, literals: Vec<Literal>| literals.into_iter().map(|found| (way.to_owned(), found)).collect();
    let literal = |at: Option<usize>| match at.and_then(|at| tokens.get(at)) {
        Some(TokenTree::Literal(literal)) => vec![literal.clone()],
        _ => Vec::new(),
    };
    match (&tokens[at], tokens.get(at + 1), tokens.get(at + 2)) {
        (TokenTree::Ident(ident), Some(TokenTree::Group(group)), _)
            if group.delimiter() == Delimiter::Parenthesis && LOOKS.iter().any(|look| ident == look) =>
        {
            let first = group.stream().into_iter().take(1);
            named(&ident.to_string(), first.flat_map(literals).collect())
        }
        (TokenTree::Ident(ident), Some(bang), Some(TokenTree::Group(group)))
            if ident == "matches" && is_punct(Some(bang), '!') =>
        {
            let arguments: Vec<TokenTree> = group.stream().into_iter().collect();
            let pattern = arguments.into_iter().skip_while(|token| !is_punct(Some(token), ','));
            named("matches!", pattern.flat_map(literals).collect())
        }
        (TokenTree::Punct(first), second, _) if is_punct(second, '=') && matches!(first.as_char(), '=' | '!') => {
            named("==", [literal(at.checked_sub(1)), literal(Some(at + 2))].concat())
        }
        (TokenTree::Punct(first), second, _) if is_punct(second, '>') && first.as_char() == '=' => {
            let is_end = |token: &&TokenTree| {
                is_punct(Some(token), ',')
                    || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
            };
            let pattern = tokens[..at].iter().rev().take_while(|token| !is_end(token));
            named("match", pattern.cloned().flat_map(literals).collect())
        }
        _ => Vec::new(),
    }
}

/// The literals of a token, at any depth.
fn literals(token: TokenTree) -> Vec<Literal> {
    match token {
        TokenTree::Literal(literal) => vec![literal],
        TokenTree::Group(group) => group.stream().into_iter().flat_map(literals).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn finds_code_that_parses_prose() {
    let bad =
        "//! A.\nfn a(b: &str) -> bool { b.contains(\"not a phone number\") || b.split_once(\"; \").is_some() }\n";
    check(
        prose,
        &[("src/http/a.rs", bad)],
        &["src/http/a.rs:2: contains", "src/http/a.rs:2: split_once"],
    );
    let compared = "//! A.\nfn a(b: &str) -> bool {\n    b == \"too large\"\n}\nfn c(d: Option<&str>) -> u8 {\n    match d {\n        Some(\"is missing\" | \"x\") => 1,\n        _ => u8::from(matches!(d, Some(\"a b\"))),\n    }\n}\n";
    check(
        prose,
        &[("src/http/a.rs", compared)],
        &[
            "src/http/a.rs:3: ==",
            "src/http/a.rs:7: match",
            "src/http/a.rs:8: matches!",
        ],
    );
    let good = "//! A.\nfn a(b: &str) -> bool { b.contains(\"drafts.\") || b.starts_with(\"invalid_\") }\n";
    check(prose, &[("src/http/a.rs", good)], &[]);
}
