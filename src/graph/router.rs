//! The three routers: pure functions of the state, with exhaustive matches.
//!
//! What a router cannot make sense of goes the strictest way: to the error handler, never to
//! a tool.

use super::state::{AgentState, Authorization, OperatorAnswer};
use super::topology::Route;
use crate::risk::RiskRoute;
use crate::schema::Tier;

/// Which router is asked after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    ShouldContinue,
    RouteByRisk,
    RouteByAuthorization,
}

impl Router {
    /// Every end that the router can say.
    pub const fn ends(self) -> &'static [Route] {
        match self {
            Router::ShouldContinue => &[Route::Continue, Route::End, Route::Error],
            Router::RouteByRisk => &[Route::SafeExecute, Route::BlockchainRequest, Route::Refused, Route::Error],
            Router::RouteByAuthorization => &[Route::CriticalExecute, Route::Denied, Route::WaitForAuth, Route::Error],
        }
    }

    pub fn decide(self, state: &AgentState) -> Route {
        match self {
            Router::ShouldContinue => should_continue(state).into(),
            Router::RouteByRisk => route_by_risk(state).into(),
            Router::RouteByAuthorization => route_by_authorization(state).into(),
        }
    }
}

/// The ends of [`should_continue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShouldContinue {
    Continue,
    End,
    Error,
}

/// The ends of [`route_by_risk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByRisk {
    SafeExecute,
    BlockchainRequest,
    Refused,
    Error,
}

/// The ends of [`route_by_authorization`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByAuthorization {
    CriticalExecute,
    Denied,
    WaitForAuth,
    Error,
}

/// Whether the run goes on. The node that meets a limit writes the end into the state, so an
/// end has one reason and is in the checkpoint.
pub fn should_continue(state: &AgentState) -> ShouldContinue {
    match (&state.error_state, &state.end) {
        (Some(_), _) => ShouldContinue::Error,
        (None, Some(_)) => ShouldContinue::End,
        (None, None) => ShouldContinue::Continue,
    }
}

/// Where an assessed action goes. A critical tool needs an authorization whatever its score
/// is, and so does everything from the third threshold up.
pub fn route_by_risk(state: &AgentState) -> ByRisk {
    if state.error_state.is_some() {
        return ByRisk::Error;
    }
    if state.refusal.is_some() {
        return ByRisk::Refused;
    }
    let Some(assessment) = &state.assessment else {
        return ByRisk::Error;
    };
    let least = match assessment.tier {
        Tier::Safe | Tier::Write => RiskRoute::Execute,
        Tier::Critical => RiskRoute::RequireAuthorization,
    };
    match assessment.route.max(least) {
        RiskRoute::Execute | RiskRoute::ExecuteAndReview => ByRisk::SafeExecute,
        RiskRoute::AskOperator => match state.operator {
            Some(OperatorAnswer::Granted) => ByRisk::SafeExecute,
            Some(OperatorAnswer::Refused) | None => ByRisk::Refused,
        },
        RiskRoute::RequireAuthorization => ByRisk::BlockchainRequest,
    }
}

/// Where a request for authorization goes. Only a verified approval leads to the tool.
pub fn route_by_authorization(state: &AgentState) -> ByAuthorization {
    match (&state.error_state, state.pending_authorization, &state.authorization) {
        (Some(_), _, _) => ByAuthorization::Error,
        (None, true, _) => ByAuthorization::WaitForAuth,
        (None, false, Some(Authorization::Approved { .. })) => ByAuthorization::CriticalExecute,
        (None, false, Some(Authorization::Refused { .. })) => ByAuthorization::Denied,
        (None, false, None) => ByAuthorization::Error,
    }
}

impl From<ShouldContinue> for Route {
    fn from(end: ShouldContinue) -> Self {
        match end {
            ShouldContinue::Continue => Route::Continue,
            ShouldContinue::End => Route::End,
            ShouldContinue::Error => Route::Error,
        }
    }
}

impl From<ByRisk> for Route {
    fn from(end: ByRisk) -> Self {
        match end {
            ByRisk::SafeExecute => Route::SafeExecute,
            ByRisk::BlockchainRequest => Route::BlockchainRequest,
            ByRisk::Refused => Route::Refused,
            ByRisk::Error => Route::Error,
        }
    }
}

impl From<ByAuthorization> for Route {
    fn from(end: ByAuthorization) -> Self {
        match end {
            ByAuthorization::CriticalExecute => Route::CriticalExecute,
            ByAuthorization::Denied => Route::Denied,
            ByAuthorization::WaitForAuth => Route::WaitForAuth,
            ByAuthorization::Error => Route::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::state::{EndReason, ErrorKind, ErrorState, RefusalKind};
    use crate::graph::topology::Node;
    use crate::risk::RiskAssessment;
    use crate::schema::{AuthorizationId, EstimatedImpact, RiskScore};

    fn state() -> AgentState {
        AgentState::new("t-1".parse().unwrap())
    }

    fn error() -> Option<ErrorState> {
        Some(ErrorState { node: Node::Reasoning, kind: ErrorKind::Tool, detail: "x".to_owned() })
    }

    fn assessment(tier: Tier, route: RiskRoute) -> Option<RiskAssessment> {
        let word = || "none".to_owned();
        Some(RiskAssessment {
            score: RiskScore::MIN,
            tier,
            route,
            base: RiskScore::MIN,
            modifiers: Vec::new(),
            model: crate::risk::ModelShare::default(),
            impact: EstimatedImpact { users_affected: word(), downtime_risk: word(), data_risk: word() },
        })
    }

    fn approved() -> Authorization {
        Authorization::Approved { authorization_id: AuthorizationId::ZERO, conditions: Vec::new(), outcome: None }
    }

    fn refused() -> Authorization {
        Authorization::Refused { kind: RefusalKind::Denied, reason: "no".to_owned() }
    }

    #[test]
    fn should_continue_truth_table() {
        use ShouldContinue as S;
        let end = || Some(EndReason::IterationLimit { iterations_max: 20 });
        for (error_state, end, expected) in
            [(None, None, S::Continue), (None, end(), S::End), (error(), None, S::Error), (error(), end(), S::Error)]
        {
            assert_eq!(should_continue(&AgentState { error_state, end, ..state() }), expected);
        }
    }

    #[test]
    fn route_by_risk_truth_table() {
        use ByRisk as E;
        use OperatorAnswer::{Granted, Refused};
        use RiskRoute as R;
        let routes = [R::Execute, R::ExecuteAndReview, R::AskOperator, R::RequireAuthorization];
        let expected = |tier: Tier, route: R, operator: Option<OperatorAnswer>| match (tier, route, operator) {
            (Tier::Critical, _, _) | (_, R::RequireAuthorization, _) => E::BlockchainRequest,
            (_, R::Execute | R::ExecuteAndReview, _) => E::SafeExecute,
            (_, R::AskOperator, Some(Granted)) => E::SafeExecute,
            (_, R::AskOperator, Some(Refused) | None) => E::Refused,
        };
        for tier in [Tier::Safe, Tier::Write, Tier::Critical] {
            for route in routes {
                for operator in [None, Some(Granted), Some(Refused)] {
                    let plain = AgentState { assessment: assessment(tier, route), operator, ..state() };
                    assert_eq!(route_by_risk(&plain), expected(tier, route, operator), "{tier} {route:?} {operator:?}");
                    let with_refusal = AgentState { refusal: Some("denied before".to_owned()), ..plain.clone() };
                    assert_eq!(route_by_risk(&with_refusal), E::Refused);
                    assert_eq!(route_by_risk(&AgentState { error_state: error(), ..with_refusal }), E::Error);
                }
            }
        }
        assert_eq!(route_by_risk(&state()), E::Error, "nothing was assessed");
    }

    #[test]
    fn route_by_authorization_truth_table() {
        use ByAuthorization as E;
        for (pending, authorization, expected) in [
            (true, None, E::WaitForAuth),
            (true, Some(approved()), E::WaitForAuth),
            (true, Some(refused()), E::WaitForAuth),
            (false, Some(approved()), E::CriticalExecute),
            (false, Some(refused()), E::Denied),
            (false, None, E::Error),
        ] {
            let plain = AgentState { pending_authorization: pending, authorization, ..state() };
            assert_eq!(route_by_authorization(&plain), expected);
            assert_eq!(route_by_authorization(&AgentState { error_state: error(), ..plain }), E::Error);
        }
    }
}
