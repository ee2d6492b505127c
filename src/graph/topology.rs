//! The graph as data: seven nodes, three routers, one table of edges.
//!
//! The table is checked before anything runs, so a run cannot meet an edge that is not there.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::router::Router;

/// What the agent does in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    Reasoning,
    RiskAssessment,
    SafeExecution,
    BlockchainRequest,
    AuthorizationHandler,
    CriticalExecution,
    ErrorHandler,
}

/// Where an edge leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Node(Node),
    End,
}

/// The ends of the three routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    Continue,
    End,
    Error,
    SafeExecute,
    BlockchainRequest,
    Refused,
    CriticalExecute,
    Denied,
    WaitForAuth,
}

/// One edge: after `from`, when its router says `route`, comes `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub from: Node,
    pub route: Route,
    pub to: Target,
}

/// Where every run begins.
pub const START: Node = Node::Reasoning;

/// The node before which the graph is interrupted: the process may wait, leave or die there.
pub const INTERRUPT_BEFORE: Node = Node::AuthorizationHandler;

impl Node {
    pub const ALL: [Node; 7] = [
        Node::Reasoning,
        Node::RiskAssessment,
        Node::SafeExecution,
        Node::BlockchainRequest,
        Node::AuthorizationHandler,
        Node::CriticalExecution,
        Node::ErrorHandler,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Node::Reasoning => "reasoning",
            Node::RiskAssessment => "risk_assessment",
            Node::SafeExecution => "safe_execution",
            Node::BlockchainRequest => "blockchain_request",
            Node::AuthorizationHandler => "authorization_handler",
            Node::CriticalExecution => "critical_execution",
            Node::ErrorHandler => "error_handler",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Node::ALL.into_iter().find(|node| node.as_str() == text)
    }

    /// The router that is asked after this node.
    pub const fn router(self) -> Router {
        match self {
            Node::Reasoning
            | Node::SafeExecution
            | Node::BlockchainRequest
            | Node::CriticalExecution
            | Node::ErrorHandler => Router::ShouldContinue,
            Node::RiskAssessment => Router::RouteByRisk,
            Node::AuthorizationHandler => Router::RouteByAuthorization,
        }
    }

    /// Whether its checkpoint is written whatever the interval is: what is promised to
    /// approvers and to the chain must be on disk before the next step.
    pub const fn always_checkpointed(self) -> bool {
        match self {
            Node::BlockchainRequest | Node::AuthorizationHandler | Node::CriticalExecution => true,
            Node::Reasoning | Node::RiskAssessment | Node::SafeExecution | Node::ErrorHandler => false,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How [`Target::End`] is written.
const END: &str = "end";

impl Target {
    pub const fn as_str(self) -> &'static str {
        match self {
            Target::Node(node) => node.as_str(),
            Target::End => END,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        if text == END { Some(Target::End) } else { Node::parse(text).map(Target::Node) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Route {
    pub const fn as_str(self) -> &'static str {
        match self {
            Route::Continue => "continue",
            Route::End => "end",
            Route::Error => "error",
            Route::SafeExecute => "safe_execute",
            Route::BlockchainRequest => "blockchain_request",
            Route::Refused => "refused",
            Route::CriticalExecute => "critical_execute",
            Route::Denied => "denied",
            Route::WaitForAuth => "wait_for_auth",
        }
    }
}

const fn edge(from: Node, route: Route, to: Target) -> Edge {
    Edge { from, route, to }
}

const fn to(node: Node) -> Target {
    Target::Node(node)
}

/// The agent's graph.
pub const EDGES: [Edge; 23] = [
    edge(Node::Reasoning, Route::Continue, to(Node::RiskAssessment)),
    edge(Node::Reasoning, Route::End, Target::End),
    edge(Node::Reasoning, Route::Error, to(Node::ErrorHandler)),
    edge(Node::RiskAssessment, Route::SafeExecute, to(Node::SafeExecution)),
    edge(Node::RiskAssessment, Route::BlockchainRequest, to(Node::BlockchainRequest)),
    edge(Node::RiskAssessment, Route::Refused, to(Node::Reasoning)),
    edge(Node::RiskAssessment, Route::Error, to(Node::ErrorHandler)),
    edge(Node::SafeExecution, Route::Continue, to(Node::Reasoning)),
    edge(Node::SafeExecution, Route::End, Target::End),
    edge(Node::SafeExecution, Route::Error, to(Node::ErrorHandler)),
    edge(Node::BlockchainRequest, Route::Continue, to(Node::AuthorizationHandler)),
    edge(Node::BlockchainRequest, Route::End, Target::End),
    edge(Node::BlockchainRequest, Route::Error, to(Node::ErrorHandler)),
    edge(Node::AuthorizationHandler, Route::CriticalExecute, to(Node::CriticalExecution)),
    edge(Node::AuthorizationHandler, Route::Denied, to(Node::Reasoning)),
    edge(Node::AuthorizationHandler, Route::WaitForAuth, to(Node::AuthorizationHandler)),
    edge(Node::AuthorizationHandler, Route::Error, to(Node::ErrorHandler)),
    edge(Node::CriticalExecution, Route::Continue, to(Node::Reasoning)),
    edge(Node::CriticalExecution, Route::End, Target::End),
    edge(Node::CriticalExecution, Route::Error, to(Node::ErrorHandler)),
    edge(Node::ErrorHandler, Route::Continue, to(Node::Reasoning)),
    edge(Node::ErrorHandler, Route::End, Target::End),
    // An error that its own handler leaves standing ends the run.
    edge(Node::ErrorHandler, Route::Error, Target::End),
];

/// What is wrong with a table of edges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("after {node} the end {} has no edge", route.as_str())]
    MissingEdge { node: Node, route: Route },
    #[error("after {node} the end {} has two edges", route.as_str())]
    DuplicateEdge { node: Node, route: Route },
    #[error("after {node} stands an edge for {}, which its router never says", route.as_str())]
    ForeignRoute { node: Node, route: Route },
    #[error("no path from {START} reaches {0}")]
    Unreachable(Node),
    #[error("no path from {0} reaches the end")]
    NoWayOut(Node),
}

/// A table of edges that was checked.
#[derive(Clone, Debug)]
pub struct Graph {
    edges: Vec<Edge>,
}

impl Graph {
    /// The agent's own graph.
    ///
    /// # Errors
    /// None for [`EDGES`] as it stands; a test holds it to that.
    pub fn standard() -> Result<Self, GraphError> {
        Graph::new(EDGES.to_vec())
    }

    /// Checks that every end of every node's router has exactly one edge, that every node can
    /// be reached, and that the end can be reached from every node.
    ///
    /// # Errors
    /// The first of these that fails.
    pub fn new(edges: Vec<Edge>) -> Result<Self, GraphError> {
        for node in Node::ALL {
            let ends = node.router().ends();
            for &route in ends {
                match edges.iter().filter(|e| e.from == node && e.route == route).count() {
                    0 => return Err(GraphError::MissingEdge { node, route }),
                    1 => {}
                    _ => return Err(GraphError::DuplicateEdge { node, route }),
                }
            }
            if let Some(foreign) = edges.iter().find(|e| e.from == node && !ends.contains(&e.route)) {
                return Err(GraphError::ForeignRoute { node, route: foreign.route });
            }
        }
        let reached = closure(BTreeSet::from([Target::Node(START)]), |seen| {
            edges.iter().filter(|e| seen.contains(&Target::Node(e.from))).map(|e| e.to).collect()
        });
        let leaving = closure(BTreeSet::from([Target::End]), |seen| {
            edges.iter().filter(|e| seen.contains(&e.to)).map(|e| Target::Node(e.from)).collect()
        });
        for node in Node::ALL {
            if !reached.contains(&Target::Node(node)) {
                return Err(GraphError::Unreachable(node));
            }
            if !leaving.contains(&Target::Node(node)) {
                return Err(GraphError::NoWayOut(node));
            }
        }
        Ok(Graph { edges })
    }

    /// What comes after a node on one of its router's ends.
    ///
    /// # Errors
    /// [`GraphError::MissingEdge`] for an end that is not the node's router's.
    pub fn next(&self, node: Node, route: Route) -> Result<Target, GraphError> {
        let edge = self.edges.iter().find(|e| e.from == node && e.route == route);
        edge.map(|e| e.to).ok_or(GraphError::MissingEdge { node, route })
    }

    /// The graph as a Mermaid flowchart.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n    start([start])\n    finish([end])\n");
        for node in Node::ALL {
            let shape = if node == INTERRUPT_BEFORE { format!("[/{node}/]") } else { format!("[{node}]") };
            text.push_str(&format!("    {node}{shape}\n"));
        }
        text.push_str(&format!("    start --> {START}\n"));
        for edge in &self.edges {
            let to = match edge.to {
                Target::Node(node) => node.as_str(),
                Target::End => "finish",
            };
            text.push_str(&format!("    {} -->|\"{}\"| {to}\n", edge.from, edge.route.as_str()));
        }
        text.push_str(&format!(
            "    classDef interrupt stroke-dasharray: 5 5\n    class {INTERRUPT_BEFORE} interrupt\n"
        ));
        text
    }
}

/// Everything that can be got to from `seen` by repeating `step`.
fn closure(mut seen: BTreeSet<Target>, step: impl Fn(&BTreeSet<Target>) -> BTreeSet<Target>) -> BTreeSet<Target> {
    loop {
        let before = seen.len();
        let more = step(&seen);
        seen.extend(more);
        if seen.len() == before {
            return seen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(from: Node, route: Route) -> Vec<Edge> {
        EDGES.iter().copied().filter(|e| (e.from, e.route) != (from, route)).collect()
    }

    fn redirected(from: Node, route: Route, to: Target) -> Vec<Edge> {
        let mut edges = without(from, route);
        edges.push(Edge { from, route, to });
        edges
    }

    #[test]
    fn the_table_holds() {
        let graph = Graph::standard().unwrap();
        for node in Node::ALL {
            for &route in node.router().ends() {
                assert!(graph.next(node, route).is_ok(), "{node} {}", route.as_str());
            }
        }
        assert_eq!(
            graph.next(Node::Reasoning, Route::Denied),
            Err(GraphError::MissingEdge { node: Node::Reasoning, route: Route::Denied })
        );
    }

    #[test]
    fn only_an_approval_leads_to_critical_execution() {
        let ways: Vec<(Node, Route)> =
            EDGES.iter().filter(|e| e.to == Target::Node(Node::CriticalExecution)).map(|e| (e.from, e.route)).collect();
        assert_eq!(ways, [(Node::AuthorizationHandler, Route::CriticalExecute)]);
    }

    #[test]
    fn each_fault_of_a_table_is_named() {
        let missing = without(Node::RiskAssessment, Route::Error);
        assert_eq!(
            Graph::new(missing).unwrap_err(),
            GraphError::MissingEdge { node: Node::RiskAssessment, route: Route::Error }
        );

        let mut twice = EDGES.to_vec();
        twice.push(EDGES[0]);
        assert_eq!(
            Graph::new(twice).unwrap_err(),
            GraphError::DuplicateEdge { node: Node::Reasoning, route: Route::Continue }
        );

        let mut foreign = EDGES.to_vec();
        foreign.push(Edge { from: Node::Reasoning, route: Route::Denied, to: Target::End });
        assert_eq!(
            Graph::new(foreign).unwrap_err(),
            GraphError::ForeignRoute { node: Node::Reasoning, route: Route::Denied }
        );

        let around = redirected(Node::AuthorizationHandler, Route::CriticalExecute, Target::End);
        assert_eq!(Graph::new(around).unwrap_err(), GraphError::Unreachable(Node::CriticalExecution));

        let own_tail: Vec<Edge> = EDGES
            .iter()
            .map(
                |e| if e.from == Node::ErrorHandler { Edge { to: Target::Node(Node::ErrorHandler), ..*e } } else { *e },
            )
            .collect();
        assert_eq!(Graph::new(own_tail).unwrap_err(), GraphError::NoWayOut(Node::ErrorHandler));
    }

    #[test]
    fn names_round_trip() {
        for target in Node::ALL.map(Target::Node).into_iter().chain([Target::End]) {
            assert_eq!(Target::parse(target.as_str()), Some(target));
            let json = serde_json::to_string(&target).unwrap();
            assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), target);
        }
        assert_eq!(Target::parse("nowhere"), None);
    }

    #[test]
    fn the_picture_shows_every_edge_and_the_interrupt() {
        let picture = Graph::standard().unwrap().to_mermaid();
        assert!(picture.starts_with("flowchart TD\n"));
        assert_eq!(picture.matches("-->|").count(), EDGES.len());
        assert!(picture.contains("    authorization_handler -->|\"critical_execute\"| critical_execution\n"));
        assert!(picture.contains("    reasoning -->|\"end\"| finish\n"));
        assert!(picture.contains("class authorization_handler interrupt"));
    }
}
