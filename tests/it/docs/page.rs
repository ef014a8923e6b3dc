//! Markdown as its readers use it: blocks to copy, code in a line, links, headings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Pieces of a page, each with its line.
type Pieces = Vec<(usize, String)>;

/// A page of the repository.
pub(super) struct Page {
    /// From the root of the repository.
    pub(super) path: String,
    pub(super) blocks: Vec<Block>,
    /// What is not in a block, with its line.
    prose: Pieces,
}

/// What stands between two fences.
pub(super) struct Block {
    /// Of its first line of text.
    pub(super) line: usize,
    pub(super) language: String,
    /// What follows the language: it says what a test makes of the block.
    pub(super) role: String,
    pub(super) text: String,
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that is written by hand and that people find.
pub(super) fn pages() -> Vec<Page> {
    let mut paths = Vec::new();
    for folder in [".", "docs", "deploy"] {
        find(&root().join(folder), folder == "deploy", &mut paths);
    }
    paths.sort();
    let pages: Vec<Page> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            Page::parse(name.trim_start_matches("./"), &text)
        })
        .collect();
    assert!(pages.len() > 10, "only {} pages", pages.len());
    pages
}

/// One page by its path.
pub(super) fn page(path: &str) -> Page {
    Page::parse(path, &std::fs::read_to_string(root().join(path)).unwrap())
}

fn find(folder: &Path, deep: bool, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && deep && !matches!(name, "node_modules" | "dist" | ".next") {
            find(&path, deep, paths);
        } else if name.ends_with(".md") {
            paths.push(path);
        }
    }
}

impl Page {
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let (mut blocks, mut prose): (Vec<Block>, Pieces) = (Vec::new(), Vec::new());
        let mut open: Option<(usize, Block)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let trimmed = line.trim_start();
            match (&mut open, trimmed.strip_prefix("```")) {
                (None, Some(info)) => {
                    let (language, role) = info.split_once(' ').unwrap_or((info, ""));
                    let block = Block {
                        line: number + 1,
                        language: language.to_owned(),
                        role: role.trim().to_owned(),
                        text: String::new(),
                    };
                    open = Some((line.len() - trimmed.len(), block));
                }
                (Some(_), Some("")) => blocks.extend(open.take().map(|(_, block)| block)),
                (Some((indent, block)), _) => {
                    let blank = line.len() - trimmed.len();
                    block.text += &line[blank.min(*indent)..];
                    block.text.push('\n');
                }
                (None, None) => prose.push((number, line.to_owned())),
            }
        }
        assert!(open.is_none(), "{path} has a block without an end");
        Self {
            path: path.to_owned(),
            blocks,
            prose,
        }
    }

    pub(super) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// Headings, with their level.
    pub(super) fn headings(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.prose.iter().filter_map(|(number, line)| {
            let text = line.trim_start_matches('#');
            let level = line.len() - text.len();
            (level > 0 && text.starts_with(' ')).then(|| (*number, level, text.trim()))
        })
    }

    /// What a link may name after `#`, as GitHub makes it from the headings.
    pub(super) fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        self.headings()
            .map(|(_, _, heading)| {
                let anchor = anchor(heading);
                let count = seen.entry(anchor.clone()).or_default();
                *count += 1;
                match count {
                    1 => anchor,
                    count => format!("{anchor}-{}", *count - 1),
                }
            })
            .collect()
    }

    /// Code in a line, which may go on over the end of the line.
    pub(super) fn spans(&self) -> Pieces {
        self.split_prose().1
    }

    /// All prose, without code.
    pub(super) fn prose_text(&self) -> String {
        let lines = self.split_prose().0.into_iter().map(|(_, line)| line);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Where links and pictures lead.
    pub(super) fn links(&self) -> Pieces {
        let mut links = Vec::new();
        let (text, _) = self.split_prose();
        for (line, part) in text {
            let mut rest = part.as_str();
            while let Some((_, after)) = rest.split_once("](") {
                let target = after.split(')').next().unwrap_or_default();
                links.push((line, target.split(' ').next().unwrap_or_default().to_owned()));
                rest = after;
            }
        }
        links
    }

    /// Prose without its code, and its code. A line that ends within code goes on with the next.
    fn split_prose(&self) -> (Pieces, Pieces) {
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        let mut lines = self.prose.iter().peekable();
        while let Some((number, line)) = lines.next() {
            let mut paragraph = line.clone();
            while paragraph.matches('`').count() % 2 == 1 {
                match lines.next_if(|(_, next)| !next.trim().is_empty()) {
                    Some((_, next)) => paragraph = format!("{paragraph} {}", next.trim()),
                    None => break,
                }
            }
            let mut plain = String::new();
            for (place, part) in paragraph.split('`').enumerate() {
                if place % 2 == 1 {
                    spans.push((*number, part.to_owned()));
                    // Something stands there, also for the text of a link.
                    plain.push('_');
                } else {
                    plain.push_str(part);
                }
            }
            text.push((*number, plain));
        }
        (text, spans)
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
