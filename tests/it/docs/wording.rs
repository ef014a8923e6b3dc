//! Plain English: words that show that a text is written in another language than `docs/GLOSSARY.md`.

use super::page::{Page, pages, root};

/// Words and phrases that have a standard term instead. Upper and lower case are the same; a word is not part of a longer one.
///
/// They apply to the README, `docs`, the program and its pages.
const OLD_WORDS: &[&str] = &[
    "mend",
    "mended",
    "mends",
    "whoever",
    "nobody",
    "somebody",
    "anew",
    "none of ours",
    "for want of",
    "befalls",
    "nought",
    "asks for it",
    "fares",
];

/// Phrases for the document that the project began with. Only `docs/ALTERNATIVES.md` speaks of it.
const ORIGINAL_PLAN: &[&str] = &["the plan", "the plan's", "in the plan", "original plan"];

/// Where a text has one of these words: its line, and the word.
fn old_words<'a>(text: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let text = text.to_lowercase();
    // A phrase may go on in the next line.
    let text: String = text.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
    let mut found: Vec<(usize, &str)> = Vec::new();
    for word in words {
        for (at, _) in text.match_indices(word) {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if !is_part(before) && !is_part(after) {
                found.push((at, word));
            }
        }
    }
    found
}

/// The faults of a page; `text` is its source.
fn faults(path: &str, text: &str, words: &[&str]) -> Vec<String> {
    old_words(text, words)
        .into_iter()
        .map(|(at, word)| {
            let line = 1 + text.to_lowercase()[..at].matches('\n').count();
            format!("{path}:{line}: \"{word}\"; docs/GLOSSARY.md has the term")
        })
        .collect()
}

/// The README and everything directly below `docs`.
fn guides() -> Vec<(String, String)> {
    let guides: Vec<(String, String)> = pages()
        .into_iter()
        .map(|page| page.path)
        .filter(|path| path == "README.md" || path.starts_with("docs/"))
        .map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).unwrap();
            (path, text)
        })
        .collect();
    assert!(guides.len() > 15, "only {} guides", guides.len());
    guides
}

/// The program and its pages, comments included.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![root().join("src"), root().join("templates")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path.strip_prefix(root()).unwrap().display().to_string(), text));
            }
        }
    }
    assert!(sources.len() > 100, "only {} sources", sources.len());
    sources
}

#[test]
fn guides_and_program_are_written_in_standard_terms() {
    let faults: Vec<String> = guides()
        .into_iter()
        .chain(sources())
        .collect::<Vec<_>>()
        .iter()
        .flat_map(|(path, text)| faults(path, text, OLD_WORDS))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Code is left out: a test may have a name with these words in it.
#[test]
fn only_alternatives_names_the_original_plan() {
    for (path, text) in guides() {
        let prose = Page::parse(&path, &text).prose_text();
        let found = old_words(&prose, ORIGINAL_PLAN);
        if path == "docs/ALTERNATIVES.md" {
            assert!(!found.is_empty(), "{path} compares with it");
        } else {
            assert_eq!(found, [], "{path}");
        }
    }
}

#[test]
fn finds_whole_old_words_only() {
    let text = "Mend it.\nAn amendment, and `x_mended`.\nNone of\nours. Whoever, NOBODY; somebody's.";
    let words: Vec<&str> = old_words(text, OLD_WORDS).into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["mend", "whoever", "nobody", "somebody", "none of ours"]);
    let faults = faults("docs/A.md", text, &["none of ours"]);
    assert_eq!(faults, ["docs/A.md:3: \"none of ours\"; docs/GLOSSARY.md has the term"]);
}
