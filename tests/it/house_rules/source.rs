//! Rust sources as the rules of the house see them: paths and words, with what is a test told from what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

/// A Rust file, parsed.
pub(super) struct Source {
    /// From the root of the repository.
    pub(super) path: String,
    pub(super) text: String,
    /// `["http", "api"]` of `src/http/api.rs`; empty for files outside `src`.
    pub(super) module: Vec<String>,
    file: syn::File,
    /// Lines of items under `#[cfg(test)]`, those of a file that is declared so included.
    pub(super) tests: Vec<RangeInclusive<usize>>,
}

/// A path as it is written, with the lists in braces taken apart.
pub(super) struct Written {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

impl Source {
    fn parse(path: &str, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let tests = file
            .items
            .iter()
            .filter(|item| is_test(item))
            .map(|item| lines(item.span()))
            .collect();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            module: module_of(path),
            file,
            tests,
        }
    }

    pub(super) fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// Whether it is part of the program, and not of its tests.
    pub(super) fn is_program(&self) -> bool {
        !self.module.is_empty() && !self.is_test_line(1)
    }

    pub(super) fn is_test_line(&self, line: usize) -> bool {
        self.module.is_empty() || self.is_under_test(line)
    }

    /// Whether the line is in an item under `#[cfg(test)]`.
    pub(super) fn is_under_test(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// Modules declared here under `#[cfg(test)]`, whose files are tests.
    fn test_modules(&self) -> impl Iterator<Item = Vec<String>> {
        let declared = self.file.items.iter().filter(|item| is_test(item));
        declared.filter_map(|item| match item {
            syn::Item::Mod(item) if item.content.is_none() => {
                let parent = if self.module == ["lib"] { &[][..] } else { &self.module };
                Some([parent, &[item.ident.to_string()]].concat())
            }
            _ => None,
        })
    }

    /// What of ours the program's code imports or names, and on which line, from the root of the crate.
    pub(super) fn imports(&self) -> Vec<(usize, Vec<String>)> {
        let resolved = self.paths().into_iter().filter_map(|path| {
            let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
            let target = match path.segments.first()?.as_str() {
                "crate" | "bigin_sync" => path.segments[1..].to_vec(),
                "super" => {
                    let parent = &self.module[..self.module.len().saturating_sub(supers)];
                    [parent, &path.segments[supers..]].concat()
                }
                _ => return None,
            };
            Some((path.line, target))
        });
        resolved.collect()
    }

    /// What the code imports, each with the name that it has there.
    pub(super) fn uses(&self) -> Vec<(String, Vec<String>)> {
        struct Uses<'a>(&'a Source, Vec<(String, Vec<String>)>);
        impl<'ast> Visit<'ast> for Uses<'_> {
            fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
                if !self.0.is_under_test(item.span().start().line) {
                    imported(&item.tree, &[], &mut self.1);
                }
            }
        }
        let mut uses = Uses(self, Vec::new());
        uses.visit_file(&self.file);
        uses.1
    }

    /// Every path in the code that is no test. Those in modules inside the file are taken as if they stood outside, which is so
    /// for `crate::` and crates; the house writes no such modules but for tests.
    pub(super) fn paths(&self) -> Vec<Written> {
        let mut paths = Vec::new();
        self.walk(&mut |tokens, at| {
            let line = tokens[at].span().start().line;
            let TokenTree::Ident(_) = &tokens[at] else { return };
            let goes_on = at >= 2 && is_colons(tokens, at - 2);
            // `a::b` and `<T>::b` go on with their colons; `::std::fs` begins with them.
            let before = at.checked_sub(3).and_then(|at| tokens.get(at));
            let begins = match before {
                Some(TokenTree::Ident(ident)) => ident == "use",
                before => !is_punct(before, '>'),
            };
            let is_member = at > 0 && is_punct(tokens.get(at - 1), '.');
            if !self.is_under_test(line) && !is_member && (!goes_on || begins) {
                let segments = path_at(tokens, at);
                paths.extend(segments.into_iter().map(|segments| Written { line, segments }));
            }
        });
        paths
    }

    pub(super) fn idents(&self) -> impl Iterator<Item = Ident> {
        let mut idents = Vec::new();
        self.walk(&mut |tokens, at| idents.extend(as_ident(tokens.get(at)).cloned()));
        idents
            .into_iter()
            .filter(|ident| !self.is_test_line(ident.span().start().line))
    }

    /// Visits every token, with its neighbours and its place among them.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(&[TokenTree], usize)) {
        walk(self.text.parse().unwrap(), visit);
    }
}

fn walk(tokens: TokenStream, visit: &mut dyn FnMut(&[TokenTree], usize)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        visit(&tokens, at);
        if let TokenTree::Group(group) = token {
            walk(group.stream(), visit);
        }
    }
}

/// The path that begins at `at`; several where it ends in a list in braces.
fn path_at(tokens: &[TokenTree], mut at: usize) -> Vec<Vec<String>> {
    let mut segments = Vec::new();
    while let Some(ident) = as_ident(tokens.get(at)) {
        segments.push(ident.to_string());
        if !is_colons(tokens, at + 1) {
            return vec![segments];
        }
        at += 3;
    }
    let Some(TokenTree::Group(group)) = tokens.get(at).filter(|token| is_group(Some(token), Delimiter::Brace)) else {
        // `::*`, or the arguments of a type.
        return vec![segments];
    };
    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
    let parts = inside.split(|token| is_punct(Some(token), ','));
    let parts = parts.filter(|part| !part.is_empty()).flat_map(|part| path_at(part, 0));
    parts.map(|part| [segments.as_slice(), &part].concat()).collect()
}

/// The names that a `use` brings in, each with its path.
fn imported(tree: &syn::UseTree, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let with = |name: &Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => imported(&path.tree, &with(&path.ident), found),
        syn::UseTree::Name(name) if name.ident == "self" => {
            found.extend(before.last().cloned().map(|name| (name, before.to_vec())))
        }
        syn::UseTree::Name(name) => found.push((name.ident.to_string(), with(&name.ident))),
        syn::UseTree::Rename(name) => found.push((name.rename.to_string(), with(&name.ident))),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| imported(tree, before, found)),
        syn::UseTree::Glob(_) => {}
    }
}

fn as_ident(token: Option<&TokenTree>) -> Option<&Ident> {
    match token {
        Some(TokenTree::Ident(ident)) => Some(ident),
        _ => None,
    }
}

pub(super) fn is_ident(token: Option<&TokenTree>, text: &str) -> bool {
    as_ident(token).is_some_and(|ident| ident == text)
}

pub(super) fn is_punct(token: Option<&TokenTree>, text: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == text)
}

pub(super) fn is_group(token: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let joint = matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.spacing() == Spacing::Joint);
    joint && is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Whether an item stands under `#[cfg(test)]`.
fn is_test(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

fn lines(span: proc_macro2::Span) -> RangeInclusive<usize> {
    span.start().line..=span.end().line
}

fn module_of(path: &str) -> Vec<String> {
    let Some(path) = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// Parses files, and marks those as tests that another declares so.
pub(super) fn sources<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Source> {
    let mut sources: Vec<Source> = texts
        .into_iter()
        .map(|(path, text)| Source::parse(path, text))
        .collect();
    let tests: Vec<Vec<String>> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        if tests.iter().any(|test| source.module.starts_with(test)) {
            source.tests = vec![1..=source.text.lines().count().max(1)];
        }
    }
    sources
}

pub(super) fn of_this_package() -> Vec<Source> {
    let texts = texts();
    let texts = texts.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    sources(texts.filter(|(path, _)| Path::new(path).extension().is_some_and(|extension| extension == "rs")))
}

/// The tracked files that are text. Where there is no git, every file that is not built or fetched.
pub(super) fn texts() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let listed = git
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    let mut paths: BTreeSet<String> = listed
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    if paths.is_empty() {
        files_below(root, root, &mut paths);
    } else {
        // A source that is not tracked yet is compiled all the same.
        files_below(root, &root.join("src"), &mut paths);
        files_below(root, &root.join("tests"), &mut paths);
    }
    let read = |path: String| Some((std::fs::read_to_string(root.join(&path)).ok()?, path));
    paths
        .into_iter()
        .filter_map(read)
        .map(|(text, path)| (path, text))
        .collect()
}

fn files_below(root: &Path, folder: &Path, paths: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", ".git", "node_modules", "__pycache__"].contains(&name) {
                files_below(root, &path, paths);
            }
        } else {
            paths.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
