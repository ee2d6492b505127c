//! The labelled rows of data/risk/: splits that share nothing, and scores that reach their targets.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use guardrail::config::load_yaml_with;
use guardrail::risk::Model;
use guardrail::risk::evaluate::{Label, Row, evaluate};
use guardrail::tools::ToolConfig;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::project;

fn rows(name: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(project().join("data/risk").join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What makes two rows the same action.
fn action(row: &Row) -> String {
    json!([row.command, row.tool_name, row.parameters]).to_string()
}

fn families(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().filter_map(|row| row.rest.get("family")?.as_str().map(str::to_owned)).collect()
}

#[test]
fn no_row_and_no_family_of_the_evaluation_split_is_trained_on() {
    let (train, eval) = (rows("train.jsonl"), rows("eval.jsonl"));
    let trained: BTreeSet<String> = train.iter().map(action).collect();
    let hand_written = ["holdout.jsonl", "holdout2.jsonl", "holdout3.jsonl"].into_iter().flat_map(rows);
    let held: Vec<Row> = eval.iter().cloned().chain(hand_written).collect();
    let shared: Vec<String> = held.iter().map(action).filter(|action| trained.contains(action)).collect();
    assert_eq!(shared, Vec::<String>::new());
    let both: Vec<String> = families(&train).intersection(&families(&eval)).cloned().collect();
    assert_eq!(both, Vec::<String>::new());
    assert!(train.len() > 1000 && eval.len() > 300, "{} {}", train.len(), eval.len());
}

#[test]
fn the_model_was_made_from_the_training_file() {
    let bytes = std::fs::read(project().join("data/risk/train.jsonl")).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(Model::shipped().unwrap().card.data_sha256, digest);
}

#[test]
fn the_files_are_what_the_generator_writes() {
    let ran = Command::new("python3").arg(project().join("scripts/risk_data.py")).arg("--check").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_evaluation_split_and_the_ordinary_commands_reach_their_targets() {
    let config: ToolConfig = load_yaml_with(&project().join("config/tool_config.yaml"), "GUARDRAIL_TOOLS", []).unwrap();
    let policy = config.risk_policy().unwrap();
    let tools: BTreeMap<_, _> = config.tool_bases().unwrap();
    for name in ["eval.jsonl", "holdout.jsonl", "holdout2.jsonl"] {
        let report = evaluate(&policy, &tools, &rows(name));
        assert!(report.recall.unwrap() >= 0.97, "{name}: {:#?}", report.errors);
        assert!(report.false_positive_rate.unwrap() <= 0.05, "{name}: {:#?}", report.errors);
        assert_eq!(
            report.rows,
            report.true_positives + report.false_positives + report.true_negatives + report.false_negatives
        );
    }
    let ordinary: Vec<Row> = rows("eval.jsonl")
        .into_iter()
        .chain(rows("holdout.jsonl"))
        .filter(|row| row.label == Label::Safe && row.command.is_some())
        .collect();
    let report = evaluate(&policy, &tools, &ordinary);
    assert!(report.false_positive_rate.unwrap() <= 0.01, "{:#?}", report.errors);
}
