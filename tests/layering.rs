//! Holds the code to the module table of ARCHITECTURE.md: who may import whom.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::project;

/// Module and what it may import; `cli` and `lib` may import everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("schema", &[]),
    ("atomic_file", &[]),
    ("crash", &[]),
    ("suggest", &[]),
    ("crypto", &["schema"]),
    ("evidence", &["schema", "crypto"]),
    ("audit", &["schema", "crypto", "evidence"]),
    ("channel", &["schema", "crypto", "atomic_file", "crash"]),
    ("risk", &["schema", "suggest"]),
    ("tools", &["schema", "crypto", "evidence", "risk", "suggest", "atomic_file"]),
    ("llm", &["schema", "suggest"]),
    ("graph", &["schema", "crypto", "evidence", "channel", "risk", "tools", "llm", "atomic_file"]),
    ("contract", &["schema"]),
    ("bridge", &["schema", "crypto", "evidence", "channel", "contract", "atomic_file", "crash"]),
    ("node", &[]),
    ("web", &["schema", "channel", "bridge"]),
    ("mock", &["schema", "crypto", "contract"]),
    ("config", &["suggest"]),
    ("telemetry", &["atomic_file"]),
    ("shutdown", &[]),
];

#[test]
fn imports_follow_the_table() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(project().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["lib", "main", "cli"].contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            panic!("src/{module} is in no row of the table");
        };
        seen.insert(module.clone());
        for file in rust_files(&path) {
            // What follows the unit tests' module may use whatever it needs.
            let text = std::fs::read_to_string(&file).unwrap();
            let code = if is_test(&file) { "" } else { text.split("#[cfg(test)]\n").next().unwrap() };
            for imported in imports(code) {
                if imported != module && !allowed.contains(&imported.as_str()) {
                    wrong.push(format!("{} imports {imported}", file.display()));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(seen.len() >= 12, "{seen:?}");
}

fn is_test(file: &Path) -> bool {
    file.file_stem().unwrap().to_str().unwrap().ends_with("_tests") || file.ends_with("fixture.rs")
}

fn rust_files(path: &Path) -> Vec<std::path::PathBuf> {
    if path.is_file() {
        return if path.extension().is_some_and(|e| e == "rs") { vec![path.to_owned()] } else { Vec::new() };
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        files.extend(rust_files(&entry.unwrap().path()));
    }
    files
}

/// Top-level modules that code names by `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}
