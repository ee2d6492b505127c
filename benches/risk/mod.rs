//! Risk: what a score costs, beside its budget and beside parsing the same text and no more.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result};
use guardrail::risk::RiskPolicy;
use guardrail::tools::ToolConfig;

use crate::fixture;
use crate::harness::{Area, Direction, Group, Metric, Sorted, us};

pub const AREA: Area = Area { name: "risk", groups };

/// Median of one score.
const SCORE_US_MAX: f64 = 50.0;
/// One command of 64 KiB.
const LARGE_US_MAX: f64 = 20_000.0;
const LARGE_BYTES: usize = 64 * 1024;
/// Times each command is scored in a run.
const ROUNDS: usize = 20;
/// Times a large command is scored; the quickest counts, the others met other programs.
const LARGE_ROUNDS: usize = 5;

fn groups() -> Vec<Box<dyn Group>> {
    vec![Box::<Score>::default(), Box::<Large>::default(), Box::<Linear>::default()]
}

fn policy(slot: &mut Option<RiskPolicy>) -> Result<&RiskPolicy> {
    if slot.is_none() {
        let path = fixture::project().join("config/tool_config.yaml");
        let config: ToolConfig = guardrail::config::load_yaml_with(&path, "GUARDRAIL_TOOLS", [])?;
        *slot = Some(config.risk_policy()?);
    }
    slot.as_ref().context("the policy was just made")
}

/// The commands of the evaluation split.
fn commands() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(fixture::project().join("data/risk/eval.jsonl"))?;
    let rows = text.lines().map(serde_json::from_str::<serde_json::Value>).collect::<Result<Vec<_>, _>>()?;
    Ok(rows.iter().filter_map(|row| row["command"].as_str().map(str::to_owned)).collect())
}

fn parse(command: &str) {
    let options = brush_parser::ParserOptions::default();
    std::hint::black_box(brush_parser::Parser::new(command.as_bytes(), &options).parse_program().is_ok());
}

/// Median over every command and round. The parser keeps the last words it has seen; commands in
/// turn are more than it keeps.
fn median_us(commands: &[String], mut run: impl FnMut(&str)) -> Result<f64> {
    let mut times = Vec::with_capacity(commands.len() * ROUNDS);
    for _ in 0..ROUNDS {
        for command in commands {
            let start = Instant::now();
            run(command);
            times.push(us(start.elapsed()));
        }
    }
    Ok(Sorted::new(times)?.median())
}

fn slowest_us(texts: &[String], mut run: impl FnMut(&str)) -> f64 {
    let mut quickest_of = |text: &String| {
        let times = (0..LARGE_ROUNDS).map(|_| {
            let start = Instant::now();
            run(text);
            us(start.elapsed())
        });
        times.fold(f64::INFINITY, f64::min)
    };
    texts.iter().map(&mut quickest_of).fold(0.0, f64::max)
}

/// One command with many words, many commands, one long text in quotes, many substitutions.
fn large_commands(bytes: usize) -> Result<Vec<String>> {
    let mut script = String::new();
    let mut at = 0;
    while script.len() + 48 < bytes {
        at += 1;
        writeln!(script, "cp src/file_{at}.txt out/file_{at}.txt")?;
    }
    let mut words = "git add".to_owned();
    while words.len() + 24 < bytes {
        at += 1;
        write!(words, " src/module_{at}.rs")?;
    }
    let quoted = format!("printf '%s' '{}'", "x y ".repeat((bytes - 16) / 4));
    let substitutions = format!("echo {}", "\"$(date)\" ".repeat((bytes - 8) / 10));
    Ok(vec![script, words, quoted, substitutions])
}

/// One score with rules and model, beside its budget.
#[derive(Default)]
struct Score(Option<RiskPolicy>);

impl Group for Score {
    fn metrics(&self) -> &'static [Metric] {
        const NAME: &str = "one score ÷ its budget of 50 µs, median";
        &[Metric { name: NAME, unit: "µs", target: 1.0, direction: Direction::AtMost }]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let policy = policy(&mut self.0)?;
        let score = |command: &str| drop(std::hint::black_box(policy.assess_command(command)));
        Ok(vec![median_us(&commands()?, score)?])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        Ok(vec![SCORE_US_MAX])
    }
}

/// Commands of 64 KiB, the slowest kind, beside the budget and beside the parser alone.
#[derive(Default)]
struct Large(Option<RiskPolicy>);

impl Group for Large {
    fn metrics(&self) -> &'static [Metric] {
        const BUDGET: &str = "64 KiB ÷ its budget of 20 ms, slowest kind";
        const PARSER: &str = "64 KiB ÷ parsing it alone, slowest kind";
        &[
            Metric { name: BUDGET, unit: "µs", target: 1.0, direction: Direction::AtMost },
            Metric { name: PARSER, unit: "µs", target: 4.0, direction: Direction::AtMost },
        ]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let policy = policy(&mut self.0)?;
        let score = |command: &str| drop(std::hint::black_box(policy.assess_command(command)));
        let slowest = slowest_us(&large_commands(LARGE_BYTES)?, score);
        Ok(vec![slowest, slowest])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        Ok(vec![LARGE_US_MAX, slowest_us(&large_commands(LARGE_BYTES)?, parse)])
    }
}

/// Time over size: 64 KiB beside four times 16 KiB.
#[derive(Default)]
struct Linear(Option<RiskPolicy>);

impl Group for Linear {
    fn metrics(&self) -> &'static [Metric] {
        const NAME: &str = "64 KiB ÷ four times 16 KiB (linear: 1)";
        &[Metric { name: NAME, unit: "µs", target: 1.5, direction: Direction::AtMost }]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        self.time(LARGE_BYTES, 1.0)
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        self.time(LARGE_BYTES / 4, 4.0)
    }
}

impl Linear {
    fn time(&mut self, bytes: usize, times: f64) -> Result<Vec<f64>> {
        let policy = policy(&mut self.0)?;
        let score = |command: &str| drop(std::hint::black_box(policy.assess_command(command)));
        Ok(vec![slowest_us(&large_commands(bytes)?, score) * times])
    }
}
