//! The checkers that share no code with the crate: `tests/checkers`, written in Python by the protocol page alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alloy::hex;
use alloy::primitives::{B256, Bytes, keccak256};
use guardrail::evidence::trie;
use serde_json::Value;

use crate::bundle_lives::{Lives, Place, write_all};
use crate::bundle_mutations::{Mutant, mutants};
use crate::fault_support::Dice;
use crate::support::project;

/// What the Python checker says of one file.
#[derive(Debug)]
pub struct TheirVerdict {
    pub verified: bool,
    /// The first step that failed, and why.
    pub failure: Option<(Place, String)>,
}

fn checkers() -> PathBuf {
    project().join("tests/checkers")
}

/// The Python that has the pinned packages.
fn python() -> Command {
    let directory = checkers();
    let read = |path: PathBuf| std::fs::read(path).unwrap_or_default();
    assert_eq!(
        read(directory.join(".venv/installed.txt")),
        read(directory.join("requirements.txt")),
        "the checkers' packages are missing or old: run scripts/checkers-setup.sh first"
    );
    Command::new(directory.join(".venv/bin/python"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn check(anchors: &Path, rpc_url: Option<&str>, files: &[PathBuf]) -> Output {
    let mut command = python();
    command.arg(checkers().join("verify_bundle.py")).arg("--anchors").arg(anchors).arg("--json");
    command.args(rpc_url.into_iter().flat_map(|url| ["--rpc-url", url]));
    command.args(files).output().unwrap()
}

/// Checks many files in one process.
pub fn their_verdicts(anchors: &Path, rpc_url: Option<&str>, files: &[PathBuf]) -> Vec<TheirVerdict> {
    let output = check(anchors, rpc_url, files);
    let stderr = text(&output.stderr);
    let verdicts: Vec<TheirVerdict> = text(&output.stdout).lines().map(verdict).collect();
    assert_eq!((verdicts.len(), stderr.as_str()), (files.len(), ""), "one verdict a file, and nothing on stderr");
    let expected = if verdicts.iter().all(|verdict| verdict.verified) { 0 } else { 5 };
    assert_eq!(output.status.code(), Some(expected));
    verdicts
}

fn verdict(line: &str) -> TheirVerdict {
    let value: Value = serde_json::from_str(line).unwrap();
    let failure = value["reports"].as_array().unwrap().iter().find_map(|report| {
        let step = report["steps"].as_array().unwrap().iter().find(|step| step["verdict"] == "failed")?;
        let place = (report["what"].as_str().unwrap().to_owned(), step["step"].as_u64().unwrap());
        Some((place, step["reason"].as_str().unwrap().to_owned()))
    });
    TheirVerdict { verified: value["verified"].as_bool().unwrap(), failure }
}

#[test]
fn the_checker_passes_the_worked_cases() {
    let output =
        python().args(["-m", "unittest", "discover"]).arg(checkers()).current_dir(checkers()).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Ran ") && !said.contains("Ran 0 tests"), "{said}");
}

/// Tries that nobody built: the seeds of the fuzz target, and what it found where it ran.
#[test]
fn a_stranger_and_guardrail_agree_on_hostile_proofs() {
    let seeds = ["corpus/proof", "found/proof"].map(|name| project().join("fuzz").join(name));
    let entries = seeds.iter().filter(|directory| directory.is_dir()).flat_map(|d| std::fs::read_dir(d).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.metadata().unwrap().len() >= 4);
    files.sort();
    let output = python().arg(checkers().join("proof_seeds.py")).arg("check").args(&files).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let theirs = text(&output.stdout);
    let theirs: Vec<&str> = theirs.lines().collect();
    assert_eq!(theirs.len(), files.len());
    for (file, theirs) in files.iter().zip(&theirs) {
        let (root, index, proof) = seed(&std::fs::read(file).unwrap());
        let ours = trie::check(root, index, &proof).map_or("refused".to_owned(), hex::encode);
        assert_eq!(*theirs, ours, "{}", file.display());
    }
    assert!(theirs.iter().filter(|verdict| **verdict != "refused").count() >= 7, "the true proofs are proven");
    assert!(theirs.contains(&"refused"));
}

/// Reads a seed as `fuzz/fuzz_targets/proof.rs` says: an index, then nodes after their lengths, each naming the next.
fn seed(data: &[u8]) -> (B256, u64, Vec<Bytes>) {
    let (index, mut rest) = data.split_first_chunk::<4>().unwrap();
    let mut nodes = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        nodes.push(after[..length].to_vec());
        rest = &after[length..];
    }
    let mut next = B256::ZERO;
    for node in nodes.iter_mut().rev() {
        if let Some(at) = node.windows(32).position(|window| window == [0xee; 32]) {
            node[at..at + 32].copy_from_slice(next.as_slice());
        }
        next = keccak256(&node);
    }
    (next, u64::from(u32::from_le_bytes(*index)), nodes.into_iter().map(Bytes::from).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_accepts_every_kind_of_bundle_offline_and_on_the_chain() {
    let mut lives = Lives::new();
    let mut bundles = vec![
        ("approved.json".to_owned(), lives.approved()),
        ("approved_on_chain.json".to_owned(), lives.approved_on_chain()),
        ("denied.json".to_owned(), lives.denied()),
        ("cancelled.json".to_owned(), lives.cancelled()),
        ("expired.json".to_owned(), lives.expired()),
    ];
    keep_as_seeds(&lives, &bundles);
    bundles.extend(lives.batch().await.into_iter().enumerate().map(|(n, bytes)| (format!("batch_{n}.json"), bytes)));
    let files = bundles.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice()));
    let files = write_all(&lives.world.path("bundles"), files);
    for rpc_url in [None, Some(lives.world.anvil.url.as_str())] {
        for (file, verdict) in files.iter().zip(their_verdicts(&lives.anchors_path, rpc_url, &files)) {
            assert!(verdict.verified, "{} with {rpc_url:?}: {verdict:?}", file.display());
        }
    }
    for (name, bytes) in &bundles {
        assert_eq!(lives.own_verdict(bytes), None, "{name}");
    }
    // Whoever pins other anchors accepts none of them.
    let mut other = lives.anchors.clone();
    other.max_lifetime += 1;
    let path = lives.world.path("other.json");
    std::fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
    for verdict in their_verdicts(&path, None, &files) {
        assert_eq!(verdict.failure.map(|(place, _)| place), Some(("bundle".to_owned(), 0)));
    }
}

/// Renews the seeds of the fuzz target `bundle`, with the anchors that they stand for, where a directory is named.
fn keep_as_seeds(lives: &Lives, bundles: &[(String, Vec<u8>)]) {
    let Some(directory) = std::env::var_os("GUARDRAIL_FUZZ_SEEDS").map(PathBuf::from) else { return };
    write_all(&directory.join("corpus/bundle"), bundles.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())));
    std::fs::copy(&lives.anchors_path, directory.join("anchors.json")).unwrap();
}

/// One response each of two kinds, and a life from its request to its outcome.
#[test]
fn a_stranger_and_guardrail_refuse_the_same_forgeries_at_the_same_step() {
    let lives = Lives::new();
    let originals = [lives.approved(), lives.approved_on_chain(), lives.denied(), lives.cancelled()];
    let mut dice = Dice::roll_out("forgeries");
    let forgeries: Vec<Mutant> = mutants(&originals, &lives.domain(), &mut dice);
    let named = forgeries.iter().enumerate().map(|(n, mutant)| (format!("{n:05}.json"), mutant.bytes.as_slice()));
    let files = write_all(&lives.world.path("forgeries"), named);
    let theirs = their_verdicts(&lives.anchors_path, None, &files);
    let mut places = std::collections::BTreeSet::new();
    let mut disagreements = Vec::new();
    for (mutant, theirs) in forgeries.iter().zip(theirs) {
        let ours = lives.own_verdict(&mutant.bytes);
        assert!(ours.is_some(), "Guardrail verifies a forgery: {}; they say {theirs:?}", mutant.name);
        let Some((their_place, their_reason)) = theirs.failure else {
            panic!("the stranger verifies a forgery: {}; Guardrail says {ours:?}", mutant.name)
        };
        let (our_place, our_reason) = ours.unwrap();
        if our_place != their_place {
            disagreements.push(format!("{}: {our_place:?} {our_reason} / {their_place:?} {their_reason}", mutant.name));
        }
        places.insert(our_place);
    }
    eprintln!("{} forgeries, none verified; they fail at {places:?}", forgeries.len());
    assert!(forgeries.len() > 500, "{}", forgeries.len());
    assert!(disagreements.is_empty(), "{} of {}: {disagreements:#?}", disagreements.len(), forgeries.len());
    // The forgeries reach every step of every response.
    let reached = |what: &str| (1..=5).filter(|step| places.contains(&(what.to_owned(), *step))).collect::<Vec<u64>>();
    assert_eq!(reached("decision"), [1, 2, 3, 4, 5]);
    assert_eq!(reached("consumption"), [1, 2, 3, 4, 5]);
    assert_eq!(reached("outcome"), [1, 2, 3, 4, 5]);
}
