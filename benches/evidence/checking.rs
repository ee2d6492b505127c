//! What it costs to check a bundle from its bytes, and how large one is.

use std::hint::black_box;
use std::time::Instant;

use alloy::primitives::keccak256;
use anyhow::{Result, ensure};
use guardrail::crypto::{self, SigningKey};
use guardrail::evidence::{Bundle, Verifier};

use super::bundles::{Made, make};
use crate::fixture::{Prepared, dev};
use crate::harness::{Direction, Group, Metric, Sorted, us};

/// Decisions, consumptions and outcomes in one transaction, as many as the protocol allows.
const BATCH: usize = 32;
const SINGLES: usize = 8;
const SAMPLES: usize = 200;
const BUNDLE_KIB_MAX: f64 = 256.0;

/// The bundles are made once; every run checks them anew.
#[derive(Default)]
pub struct Checking {
    made: Option<(Made, Made)>,
}

impl Checking {
    /// Bundles of transactions of their own, and bundles of full batches.
    fn made(&mut self) -> Result<&(Made, Made)> {
        if self.made.is_none() {
            self.made = Some((make(&Prepared::many(SINGLES)?, 1)?, make(&Prepared::many(BATCH)?, BATCH)?));
        }
        self.made.as_ref().ok_or_else(|| anyhow::anyhow!("nothing was made"))
    }
}

impl Group for Checking {
    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric {
                name: "checking a bundle offline, from its bytes ÷ recovering as many signatures as it has",
                unit: "µs",
                target: 3.0,
                direction: Direction::AtMost,
            },
            Metric {
                name: "the same for a bundle of three transactions of 32",
                unit: "µs",
                target: 3.0,
                direction: Direction::AtMost,
            },
            Metric {
                name: "the largest bundle of three transactions of 32 ÷ 256 KiB",
                unit: "KiB",
                target: 1.0,
                direction: Direction::AtMost,
            },
        ]
    }

    fn ours(&mut self) -> Result<Vec<f64>> {
        let (singles, batch) = self.made()?;
        let mut largest = 0;
        for bundle in &batch.bundles {
            largest = largest.max(bundle.canonical()?.len());
        }
        Ok(vec![check_us(singles)?, check_us(batch)?, largest as f64 / 1024.0])
    }

    fn baseline(&mut self) -> Result<Vec<f64>> {
        let (singles, batch) = self.made()?;
        let (singles, batch) = (signatures(&singles.bundles[0]), signatures(&batch.bundles[0]));
        Ok(vec![recover_us(singles)?, recover_us(batch)?, BUNDLE_KIB_MAX])
    }
}

/// Votes, and the bridge's signature of each response.
fn signatures(bundle: &Bundle) -> usize {
    let votes = bundle.decision.evidence.as_ref().map_or(0, |evidence| evidence.votes.len());
    votes + 1 + usize::from(bundle.consumption.is_some()) + usize::from(bundle.outcome.is_some())
}

fn check_us(made: &Made) -> Result<f64> {
    let verifier = Verifier::new(made.anchors.clone(), None)?;
    let files: Vec<Vec<u8>> = made.bundles.iter().map(Bundle::canonical).collect::<Result<_, _>>()?;
    let mut took_us = Vec::with_capacity(SAMPLES);
    for file in files.iter().cycle().take(SAMPLES) {
        let begun = Instant::now();
        let bundle = Bundle::parse(black_box(file))?;
        let report = verifier.check_bundle_offline(&bundle);
        took_us.push(us(begun.elapsed()));
        ensure!(report.verified(), "a bundle does not verify: {:?}", report.failure());
    }
    Ok(Sorted::new(took_us)?.median())
}

fn recover_us(signatures: usize) -> Result<f64> {
    let key = SigningKey::dev(dev::APPROVER)?;
    let mut signed = Vec::with_capacity(signatures);
    for index in 0..signatures {
        let digest = keccak256(index.to_be_bytes());
        signed.push((digest, key.sign(digest)?));
    }
    let mut took_us = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        for (digest, signature) in &signed {
            ensure!(crypto::recover(*digest, black_box(signature))? == key.address(), "another key");
        }
        took_us.push(us(begun.elapsed()));
    }
    Ok(Sorted::new(took_us)?.median())
}
