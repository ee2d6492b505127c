//! The fee rule: one pure function for a first attempt, one for a replacement.

/// EIP-1559 fees of one attempt, in wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    pub max_fee_wei: u128,
    pub priority_fee_wei: u128,
}

/// What the chain asks at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    pub base_fee_wei: u128,
    pub priority_fee_wei: u128,
}

/// A replacement that would cost more than the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fee would be {wanted_wei} wei per gas, the ceiling is {ceiling_wei}")]
pub struct AboveCeiling {
    pub wanted_wei: u128,
    pub ceiling_wei: u128,
}

/// Fees of a first attempt: `2 · base + priority`, so that six full blocks in a row
/// (base × 1.125⁶ ≈ 2.03) do not price it out. Never above the ceiling.
pub fn first_attempt(market: Market, ceiling_wei: u128) -> Fees {
    let wanted = market.base_fee_wei.saturating_mul(2).saturating_add(market.priority_fee_wei);
    let max_fee_wei = wanted.min(ceiling_wei);
    Fees { max_fee_wei, priority_fee_wei: market.priority_fee_wei.min(max_fee_wei) }
}

/// Fees of a replacement: both caps at `max(⌈1.125 · old⌉, market)`; geth asks for 10 % more.
///
/// # Errors
/// [`AboveCeiling`]: then the old attempt stays, and someone is told.
pub fn replacement(old: Fees, market: Market, ceiling_wei: u128) -> Result<Fees, AboveCeiling> {
    let first = first_attempt(market, u128::MAX);
    let max_fee_wei = bumped(old.max_fee_wei).max(first.max_fee_wei);
    let priority_fee_wei = bumped(old.priority_fee_wei).max(first.priority_fee_wei);
    if max_fee_wei > ceiling_wei {
        return Err(AboveCeiling { wanted_wei: max_fee_wei, ceiling_wei });
    }
    Ok(Fees { max_fee_wei, priority_fee_wei: priority_fee_wei.min(max_fee_wei) })
}

/// ⌈1.125 · fee⌉, at least one more than before.
fn bumped(fee_wei: u128) -> u128 {
    fee_wei.saturating_add(fee_wei.div_ceil(8)).max(fee_wei.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_survives_six_full_blocks_and_keeps_the_ceiling() {
        let market = Market { base_fee_wei: 100, priority_fee_wei: 7 };
        assert_eq!(first_attempt(market, 1_000), Fees { max_fee_wei: 207, priority_fee_wei: 7 });
        assert_eq!(first_attempt(market, 150), Fees { max_fee_wei: 150, priority_fee_wei: 7 });
        assert_eq!(first_attempt(market, 5), Fees { max_fee_wei: 5, priority_fee_wei: 5 });
    }

    #[test]
    fn a_replacement_pays_an_eighth_more_or_the_market() {
        let old = Fees { max_fee_wei: 100, priority_fee_wei: 1 };
        let calm = Market { base_fee_wei: 10, priority_fee_wei: 1 };
        assert_eq!(replacement(old, calm, 1_000), Ok(Fees { max_fee_wei: 113, priority_fee_wei: 2 }));
        let busy = Market { base_fee_wei: 200, priority_fee_wei: 9 };
        assert_eq!(replacement(old, busy, 1_000), Ok(Fees { max_fee_wei: 409, priority_fee_wei: 9 }));
        assert_eq!(replacement(old, busy, 400), Err(AboveCeiling { wanted_wei: 409, ceiling_wei: 400 }));
    }

    proptest::proptest! {
        #[test]
        fn every_replacement_satisfies_geth(max in 1u128..1u128 << 90, tip in 0u128..1u128 << 90, base in 0u128..1u128 << 90) {
            let old = Fees { max_fee_wei: max, priority_fee_wei: tip.min(max) };
            let market = Market { base_fee_wei: base, priority_fee_wei: 1 };
            let new = replacement(old, market, u128::MAX).unwrap();
            proptest::prop_assert!(new.max_fee_wei * 10 >= old.max_fee_wei * 11);
            proptest::prop_assert!(new.priority_fee_wei * 10 >= old.priority_fee_wei * 11);
            proptest::prop_assert!(new.priority_fee_wei <= new.max_fee_wei);
        }
    }
}
