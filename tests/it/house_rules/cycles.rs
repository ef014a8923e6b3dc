//! No import cycle among sibling modules, at any depth of the tree: in every folder some module can be read first.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Written, of_this_package};
use super::{assert_kept, check};

/// The path of its file or folder, without the ending: `["src", "http", "api"]`.
type Module = Vec<String>;

/// Who imports whom in one folder, each with an example.
type Siblings = BTreeMap<(String, String), String>;

#[test]
fn siblings_import_each_other_in_one_direction() {
    assert_kept(cycles(&of_this_package()));
}

fn cycles(sources: &[Source]) -> Vec<String> {
    let folders = siblings(sources)
        .into_iter()
        .map(|(folder, siblings)| (folder.join("/"), siblings));
    folders
        .flat_map(|(folder, siblings)| {
            let cycles = siblings.keys().map(|(from, _)| cycle_through(&siblings, from));
            let cycles: BTreeSet<BTreeSet<&str>> = cycles.filter(|cycle| !cycle.is_empty()).collect();
            let fault = |cycle: &BTreeSet<&str>| {
                let is_inside =
                    |(from, to): &(String, String)| [from, to].iter().all(|name| cycle.contains(name.as_str()));
                let imports = siblings
                    .iter()
                    .filter(|(pair, _)| is_inside(pair))
                    .map(|(_, example)| example.as_str());
                format!(
                    "{folder}: {} import each other in a cycle; move what they share to the module that owns it: {}",
                    Vec::from_iter(cycle.iter().copied()).join(", "),
                    Vec::from_iter(imports).join("; "),
                )
            };
            Vec::from_iter(cycles.iter().map(fault))
        })
        .collect()
}

/// The siblings that `from` imports and that import it, directly or through others; with them, itself.
fn cycle_through<'a>(siblings: &'a Siblings, from: &'a str) -> BTreeSet<&'a str> {
    let imported = reachable(siblings, from).into_iter();
    imported.filter(|to| reachable(siblings, to).contains(from)).collect()
}

/// The siblings that `from` imports, directly or through others.
fn reachable<'a>(siblings: &'a Siblings, from: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(from) = next.pop() {
        let imported = siblings.keys().filter(|(importer, _)| importer == from);
        next.extend(imported.map(|(_, to)| to.as_str()).filter(|to| found.insert(*to)));
    }
    found
}

/// The imports between siblings, by folder. One from deep inside a module to deep inside another is between the two whose
/// folder is the same.
fn siblings(sources: &[Source]) -> BTreeMap<Module, Siblings> {
    let program: Vec<(Module, &Source)> = sources
        .iter()
        .filter(|source| !source.is_under_test(1))
        .filter_map(|source| Some((module_of(&source.path)?, source)))
        .collect();
    let prefixes = |module: &Module| Vec::from_iter((1..=module.len()).map(|length| module[..length].to_vec()));
    let modules = program.iter().flat_map(|(module, _)| prefixes(module)).collect();
    let mut names = Names {
        modules,
        imported: BTreeMap::new(),
    };
    for (module, source) in &program {
        for (name, path) in source.uses() {
            if let Some(path) = names.absolute(module, &path) {
                names.imported.insert((module.clone(), name), path);
            }
        }
    }
    let mut folders: BTreeMap<Module, Siblings> = BTreeMap::new();
    for (module, source) in &program {
        for Written { line, segments } in source.paths() {
            let Some(owner) = names.absolute(module, &segments).map(|path| names.owner(path)) else {
                continue;
            };
            let shared = module
                .iter()
                .zip(&owner)
                .take_while(|(one, other)| one == other)
                .count();
            if let (Some(from), Some(to)) = (module.get(shared), owner.get(shared)) {
                folders
                    .entry(module[..shared].to_vec())
                    .or_default()
                    .entry((from.clone(), to.clone()))
                    .or_insert_with(|| format!("{}:{line} imports {}", source.path, segments.join("::")));
            }
        }
    }
    folders
}

/// What the names in a module stand for.
struct Names {
    modules: BTreeSet<Module>,
    /// What a module imports under a name, and may export again.
    imported: BTreeMap<(Module, String), Vec<String>>,
}

impl Names {
    /// A path as it is written in `module`, from the root of the repository; `None` where it is not of this package.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let root = if module[0] == "src" { 1 } else { 2 };
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        let (start, rest) = match path.first()?.as_str() {
            "crate" => (module[..root].to_vec(), &path[1..]),
            "bigin_sync" => (vec!["src".to_owned()], &path[1..]),
            "super" => (module[..module.len().saturating_sub(supers)].to_vec(), &path[supers..]),
            "self" => return self.absolute_below(module, &path[1..]),
            _ => return self.absolute_below(module, path),
        };
        Some([start, rest.to_vec()].concat())
    }

    /// A path that begins with a module or an import of `module`.
    fn absolute_below(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?;
        let full = [module.as_slice(), path].concat();
        let is_ours = self.modules.contains(&full[..=module.len()])
            || self.imported.contains_key(&(module.clone(), first.clone()));
        is_ours.then_some(full)
    }

    /// The module that declares what `path` names, followed through those that only export it again.
    fn owner(&self, mut path: Vec<String>) -> Module {
        let mut at = 1;
        // Two imports may name each other: those inside of functions count as the module's.
        let mut followed = BTreeSet::new();
        while at < path.len() {
            if self.modules.contains(&path[..=at]) {
                at += 1;
            } else if let Some(target) = self.imported.get(&(path[..at].to_vec(), path[at].clone()))
                && followed.insert(path.clone())
            {
                path = [target.as_slice(), &path[at + 1..]].concat();
                at = 1;
            } else {
                break;
            }
        }
        path.truncate(at);
        path
    }
}

/// The module of a file of the program or of a benchmark. The file at the root of a crate has the path of its folder.
fn module_of(path: &str) -> Option<Module> {
    let mut module: Module = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if !["src", "benches"].contains(&module[0].as_str()) {
        return None;
    }
    module.pop_if(|name| ["mod", "lib", "main"].contains(&name.as_str()));
    Some(module)
}

#[test]
fn a_cycle_is_found_however_it_is_written() {
    let back = ("src/http/b.rs", "use super::a::A;");
    let deep = ("src/http/b/deep.rs", "use crate::http::a::A;");
    let parent = ("src/http/mod.rs", "mod a;\nmod b;\npub use self::b::B;");
    let cases: [&[(&str, &str)]; 8] = [
        &[("src/http/a.rs", "use super::b::B;"), back],
        &[("src/http/a.rs", "use crate::http::{b::{self}, c};"), back],
        &[("src/http/a.rs", "fn f() { crate::http::b::g() }"), back],
        &[("src/http/a.rs", "fn f() { x!(super::b::B) }"), back],
        &[("src/http/a.rs", "use super::b as c;\nuse c::B;"), back],
        // Through the parent, which only exports it again.
        &[parent, ("src/http/a.rs", "use super::B;"), back],
        &[parent, ("src/http/a.rs", "fn f() -> crate::http::B {}"), back],
        &[
            ("src/http/b.rs", ""),
            ("src/http/a.rs", "mod deep;"),
            ("src/http/a/deep.rs", "use super::super::b::B;"),
            deep,
        ],
    ];
    for case in cases {
        check(cycles, case, &["src/http: a, b import each other in a cycle"]);
    }
    let three = [
        ("src/http/a.rs", "use super::b::B;"),
        ("src/http/b.rs", "use super::c::C;"),
        ("src/http/c.rs", "use super::a::A;"),
        ("src/http/d.rs", "use super::{a::A, b::B};"),
    ];
    check(cycles, &three, &["src/http: a, b, c import each other in a cycle"]);
    let tops = [
        ("src/clock.rs", "use crate::random;"),
        ("src/random.rs", "use crate::clock::Clock;"),
    ];
    check(cycles, &tops, &["src: clock, random import"]);
    let benches = [
        ("benches/speed/a.rs", "use crate::b;\nuse bigin_sync::clock;"),
        ("benches/speed/b.rs", "use super::a::A;"),
    ];
    check(cycles, &benches, &["benches/speed: a, b import"]);
}

#[test]
fn imports_in_one_direction_are_fine() {
    let (a, b) = ("src/http/a.rs", "src/http/b.rs");
    let cases: [&[(&str, &str)]; 4] = [
        &[
            (a, "use super::b::B;"),
            (b, "use super::State;\nuse self::a::A;\nfn a() {}"),
        ],
        &[("src/http/mod.rs", "mod a;\nuse self::a::A;"), (a, "use super::State;")],
        &[
            (a, "use super::b::B;"),
            (b, "#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}"),
        ],
        &[("tests/it/a.rs", "use crate::b;"), ("tests/it/b.rs", "use crate::a;")],
    ];
    for case in cases {
        check(cycles, case, &[]);
    }
}
