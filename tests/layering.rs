//! The map in `src/lib.rs` is true: a module uses only modules below it, clap stays where the command line is read, and the table of
//! tasks names files that exist.
//!
//! Every `crate::…` and `super::…` path in `src` is an edge between two top-level modules, found in the tokens of the file, so
//! that an inline path, a macro argument or a nested `use` counts as well. Code for tests only is left out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The only modules that may name clap.
const MAY_USE_CLAP: [&str; 4] = ["main", "run", "request", "cli"];

/// The modules of the map, the highest first.
fn map(library: &str) -> Vec<String> {
    let rows = library.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    rows.map(|row| row.split('`').next().unwrap_or_default().to_owned()).collect()
}

/// One source file: the modules it is in, from the crate's root, and its tokens without those for tests.
struct Source {
    modules: Vec<String>,
    tokens: Vec<TokenTree>,
}

/// Reads a module's file and those of the modules that it declares, except those for tests.
fn read(file: &Path, folder: &Path, modules: Vec<String>, sources: &mut Vec<Source>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tokens = without_tests(stream.into_iter().collect());
    for pair in tokens.windows(3) {
        let [TokenTree::Ident(keyword), TokenTree::Ident(name), TokenTree::Punct(end)] = pair else {
            continue;
        };
        if keyword != "mod" || end.as_char() != ';' {
            continue;
        }
        let name = name.to_string();
        let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs"));
        let file = if flat.is_file() { flat } else { nested };
        let below = modules.iter().cloned().chain([name.clone()]).collect();
        read(&file, &folder.join(&name), below, sources);
    }
    sources.push(Source { modules, tokens });
}

/// The tokens without items under `#[cfg(test)]`.
fn without_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_hash = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        let is_test = matches!(tokens.peek(), Some(TokenTree::Group(group)) if group.stream().to_string() == "cfg (test)");
        if !(is_hash && is_test) {
            kept.push(token);
            continue;
        }
        for token in tokens.by_ref() {
            let ends = match &token {
                TokenTree::Punct(punct) => punct.as_char() == ';',
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                _ => false,
            };
            if ends {
                break;
            }
        }
    }
    kept
}

/// The first names of the paths that start at the crate's root, in these tokens and in all groups of them.
fn roots(tokens: &[TokenTree], depth: usize, found: &mut BTreeSet<String>) {
    let text: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            roots(&group.stream().into_iter().collect::<Vec<_>>(), depth, found);
        }
        let begins = at == 0 || text.get(at - 1).is_none_or(|before| before != ":");
        let mut next = at;
        let mut supers = 0;
        while text.get(next).is_some_and(|word| word == "super")
            && text.get(next + 1).is_some_and(|colon| colon == ":")
        {
            supers += 1;
            next += 3;
        }
        let from_root = if text[at] == "crate" && text.get(at + 1).is_some_and(|colon| colon == ":") {
            next = at + 3;
            true
        } else {
            begins && supers > 0 && supers == depth
        };
        if !from_root {
            continue;
        }
        match tokens.get(next) {
            Some(TokenTree::Ident(name)) => drop(found.insert(name.to_string())),
            Some(TokenTree::Group(group)) => found.extend(first_names(group.stream())),
            _ => {}
        }
    }
}

/// `{a::b, c::{d, e}}` -> a, c
fn first_names(list: TokenStream) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_first = true;
    for token in list {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => is_first = true,
            TokenTree::Ident(name) if is_first => {
                names.push(name.to_string());
                is_first = false;
            }
            _ => is_first = false,
        }
    }
    names
}

/// Whether `clap` is named anywhere in the tokens.
fn names_clap(tokens: &[TokenTree]) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Ident(name) => name == "clap",
        TokenTree::Group(group) => names_clap(&group.stream().into_iter().collect::<Vec<_>>()),
        _ => false,
    })
}

fn sources() -> (Vec<String>, Vec<Source>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let library = fs::read_to_string(folder.join("lib.rs")).unwrap();
    let mut sources = Vec::new();
    read(&folder.join("lib.rs"), &folder, Vec::new(), &mut sources);
    (map(&library), sources)
}

#[test]
fn every_module_uses_only_modules_below_it() {
    let (map, sources) = sources();
    let height: BTreeMap<&str, usize> =
        map.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let declared: BTreeSet<&str> =
        sources.iter().filter_map(|source| source.modules.first()).map(String::as_str).collect();
    assert_eq!(height.keys().copied().collect::<BTreeSet<_>>(), declared, "the map names every module once");
    let mut upward = BTreeSet::new();
    for source in &sources {
        let Some(module) = source.modules.first() else { continue };
        let mut used = BTreeSet::new();
        roots(&source.tokens, source.modules.len(), &mut used);
        for name in used.iter().filter(|name| height.contains_key(name.as_str()) && *name != module) {
            if height[name.as_str()] < height[module.as_str()] {
                upward.insert(format!("{} uses {name}, which is above it", source.modules.join("::")));
            }
        }
    }
    assert!(upward.is_empty(), "edges that point up the map in src/lib.rs:\n{upward:#?}");
}

#[test]
fn clap_is_named_only_where_the_command_line_is_read() {
    let (_, sources) = sources();
    let elsewhere: Vec<String> = sources
        .iter()
        .filter(|source| names_clap(&source.tokens))
        .filter(|source| !source.modules.first().is_none_or(|module| MAY_USE_CLAP.contains(&module.as_str())))
        .map(|source| source.modules.join("::"))
        .collect();
    assert!(elsewhere.is_empty(), "clap belongs in cli/ and request/, not in {elsewhere:?}");
}

/// The paths in one column of a table: a name without a folder is in the folder of the path before it, or in `src`.
fn paths(column: &str) -> Vec<String> {
    let mut folder = String::new();
    let mut paths = Vec::new();
    for word in column.split('`').skip(1).step_by(2).filter(|word| !word.contains(char::is_whitespace)) {
        let path = match word.rsplit_once('/') {
            Some((of, _)) => {
                folder = format!("{of}/");
                word.to_owned()
            }
            None if Path::new(word).extension().is_some_and(|extension| extension == "rs") => {
                format!("{folder}{word}")
            }
            None => continue,
        };
        paths.push(path);
    }
    paths
}

#[test]
fn where_to_change_what_names_files_that_exist() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let library = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let table = library.split("# Where to change what").nth(1).unwrap();
    let table = table.split("//! # ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "));
    let paths: Vec<String> = rows.flat_map(|(_, column)| paths(column)).collect();
    assert!(paths.len() > 60, "{paths:?}");
    let exists = |path: &&String| {
        let name = Path::new(path.as_str()).file_name().unwrap();
        [root.join("src").join(path), root.join(path), root.join("src").join(name)]
            .iter()
            .any(|path| path.exists())
    };
    let missing: Vec<&String> = paths.iter().filter(|path| !exists(path)).collect();
    assert!(missing.is_empty(), "the table in src/lib.rs names {missing:?}");
}

#[test]
fn edges_are_found_however_they_are_written() {
    let text = "
        use crate::{a, b::{self, x}, c::y as z};
        use super::super::d::w;
        #[cfg(test)] mod tests { use crate::not_this_one; }
        fn f() -> crate::e::T { g!(crate::h::i()); super::within() }
    ";
    let tokens = without_tests(text.parse::<TokenStream>().unwrap().into_iter().collect());
    let mut found = BTreeSet::new();
    roots(&tokens, 2, &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "h"]);
}
