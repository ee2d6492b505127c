use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use alloy::providers::RootProvider;
use alloy::sol_types::SolEvent;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::context::{Globals, Located};
use super::error::{CommandError, Exit, OrExit};
use super::mock;
use super::out::outln;
use super::pending::describe;
use super::requests::{self, OnChain};
use super::screen::Paint;
use super::vote;
use super::{audit, node};
use crate::contract;
use crate::crypto::abi;
use crate::node::{Node, NodeConfig, find_tool};
use crate::schema::anchors::DEV_CHAIN_ID;
use crate::schema::message::Note;
use crate::schema::{LedgerKind, Timestamp};
use crate::{shutdown, telemetry};

/// Watch an agent fix a bug, be stopped at the deployment, be approved on a real chain, and go on
///
/// Starts Anvil, the contract, the bridge and the agent on one screen, on a fresh copy of the
/// sample service. On a terminal it asks you to approve; without one, or with --auto-approve,
/// the approvers' dev keys sign after a visible delay. With --mock-chain it plays on the in-memory
/// ledger instead of a chain, without Anvil.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask: sign with the approvers' dev keys after a visible delay
    #[arg(long, visible_alias = "yes")]
    pub auto_approve: bool,
    /// The chain's settings
    #[arg(long, default_value = "anvil.toml", value_name = "FILE")]
    pub node_file: PathBuf,
    /// Where npm put Anvil and cast
    #[arg(long, default_value = "contracts", value_name = "DIR")]
    pub contracts: PathBuf,
    /// The sample service
    #[arg(long, default_value = "demo", value_name = "DIR")]
    pub sample: PathBuf,
}

const PROMPTS: [&str; 4] = [
    "Analyze backend/auth.py and identify security issues",
    "Fix the authentication bypass vulnerability",
    "Run all unit tests to verify the fix",
    "Deploy the fix to production",
];
/// How long an automatic approval lets people read what is approved.
const READING_TIME_S: u64 = 5;
/// How often the chain is asked whether the request has come; a demo's screen needs no more.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long the bridge may take until it is ready, its contract deployed.
const BRIDGE_TIMEOUT: Duration = Duration::from_secs(60);

pub async fn run(globals: &Globals, args: &Args) -> Result<Exit, CommandError> {
    let stop = shutdown::on_signal()?;
    need_program("git")?;
    need_program("python3")?;
    let stage = Stage::prepare(globals, args).await?;
    telemetry::init(stage.globals.state_dir(), "demo", telemetry::Console::Quiet)?;
    let paint = Paint::for_stderr();
    let (node, globals) = match globals.ledger() {
        LedgerKind::Evm => {
            say(paint, "1/4  the chain");
            let node = start_node(&stage, args).await?;
            let url = node.url().to_owned();
            (Some(node), Globals { rpc_url: Some(url), ..stage.globals.clone() })
        }
        LedgerKind::Mock => {
            say(paint, "1/4  no chain: the mock ledger, which the bridge serves");
            mock::banner();
            (None, Globals { rpc_url: Some(free_mock_url()), ..stage.globals.clone() })
        }
    };

    say(paint, "2/4  the contract and the bridge");
    let (mut bridge, globals) = start_bridge(&globals, &stage, paint).await?;
    let played = play(&globals, args, &stage, paint, &stop).await;

    // What was started is stopped in any case; the play's own error is the one to report.
    let stopped = stop_child(&mut bridge).await;
    let node_stopped = match node {
        Some(node) => node.stop().await.or_exit(Exit::Failed),
        None => Ok(()),
    };
    let exit = played?;
    stopped?;
    node_stopped?;
    eprintln!("     everything of this run is kept in {}", stage.root.display());
    Ok(exit)
}

async fn start_node(stage: &Stage, args: &Args) -> Result<Node, CommandError> {
    let mut config = NodeConfig::load(&args.node_file).or_exit(Exit::Usage)?;
    if config.chain_id != DEV_CHAIN_ID {
        return Err(CommandError::message(
            Exit::Usage,
            format!("the demo signs with public dev keys, which work on chain id {DEV_CHAIN_ID} alone"),
        )
        .hint(format!("set chain_id = {DEV_CHAIN_ID} in {}", args.node_file.display())));
    }
    if std::net::TcpListener::bind((config.host, config.port)).is_err() {
        eprintln!("     port {} is taken, using a free one", config.port);
        config.port = 0;
    }
    let node = node::start(&stage.globals, &config, &args.contracts).await?;
    eprintln!("     Anvil at {}, chain id {}, process {}", node.url(), config.chain_id, node.pid().unwrap_or_default());
    Ok(node)
}

/// Where a mock ledger can listen: the usual port, or any free one.
fn free_mock_url() -> String {
    let port =
        if std::net::TcpListener::bind(("127.0.0.1", mock::DEFAULT_PORT)).is_ok() { mock::DEFAULT_PORT } else { 0 };
    format!("http://127.0.0.1:{port}")
}

/// The directories of one demo: nothing of an earlier one is touched.
struct Stage {
    root: PathBuf,
    workspace: PathBuf,
    globals: Globals,
}

impl Stage {
    async fn prepare(globals: &Globals, args: &Args) -> Result<Self, CommandError> {
        let name: String = Timestamp::now().to_string().chars().filter(char::is_ascii_digit).take(17).collect();
        let root = globals.state_dir().join("demo").join(name);
        let workspace = root.join("workspace");
        crate::atomic_file::ensure_dir(&root.join("state"), 0o700)?;
        let root = std::path::absolute(&root)?;
        copy_tree(&args.sample, &workspace).map_err(|e| {
            CommandError::message(Exit::Usage, format!("cannot copy the sample {}: {e}", args.sample.display()))
                .hint("run the demo in the project's directory, or give --sample")
        })?;
        let author = ["-c", "user.name=Demo", "-c", "user.email=demo@example.invalid", "-c", "commit.gpgsign=false"];
        git(&workspace, &["init", "--quiet", "--initial-branch", "main"]).await?;
        git(&workspace, &["add", "--all"]).await?;
        git(&workspace, &[&author[..], &["commit", "--quiet", "--message", "Sample service"]].concat()).await?;
        let globals = Globals {
            config_dir: globals.config_dir.clone(),
            channel: Some(root.join("channel")),
            rpc_url: None,
            state_dir: Some(root.join("state")),
            mock_chain: globals.mock_chain,
        };
        Ok(Stage { workspace: root.join("workspace"), root, globals })
    }
}

async fn play(
    globals: &Globals,
    args: &Args,
    stage: &Stage,
    paint: Paint,
    stop: &CancellationToken,
) -> Result<Exit, CommandError> {
    let endpoint = globals.connect().await?;
    let located = globals.locate(endpoint.provider(), None).await?;
    eprintln!("     contract {}", located.contract);
    say(paint, "3/4  the agent");
    let mut last = Exit::Done;
    for (index, prompt) in PROMPTS.iter().enumerate() {
        say(paint, &format!("prompt {} of {}: {prompt}", index + 1, PROMPTS.len()));
        let mut agent = start_agent(globals, &stage.workspace, prompt)?;
        let status = tokio::select! {
            () = stop.cancelled() => {
                stop_child(&mut agent).await?;
                return Err(CommandError::message(Exit::Failed, "stopped"));
            }
            status = async {
                let judged = judge_when_asked(globals, args, endpoint.provider(), located, paint, &mut agent).await?;
                Ok::<_, CommandError>((agent.wait().await?, judged))
            } => status?,
        };
        let (status, judged) = status;
        last = match (status.code(), judged) {
            (Some(0), _) => Exit::Done,
            // A person said no, and the agent took it: the demo has shown what it is there to show.
            (Some(3), Some(false)) => Exit::Done,
            _ => {
                return Err(CommandError::message(Exit::Failed, format!("the agent ended with {status}"))
                    .hint(format!("its log is in {}", globals.state_dir().join("logs").display())));
            }
        };
    }
    say(paint, if globals.mock_chain { "4/4  what the mock ledger says" } else { "4/4  what the chain says" });
    cast_logs(globals, args, endpoint.provider(), located).await?;
    audit::run(globals, &audit::Args::default()).await?;
    Ok(last)
}

/// Waits until the agent asks for something or ends; then lets people decide. What they decided.
async fn judge_when_asked(
    globals: &Globals,
    args: &Args,
    provider: &RootProvider,
    located: Located,
    paint: Paint,
    agent: &mut Child,
) -> Result<Option<bool>, CommandError> {
    let found = loop {
        tokio::select! {
            status = agent.wait() => {
                status?;
                return Ok(None);
            }
            () = tokio::time::sleep(LOOK_INTERVAL) => {
                if let Some(found) = requests::all(provider, located).await?.into_iter().find(OnChain::waits) {
                    break found;
                }
            }
        }
    };
    let channel = globals.open_channel()?;
    let request = found.read_request(&channel)?;
    let epoch = contract::read_epoch(provider, located.contract).await.or_exit(Exit::Unreachable)?;
    let ledger = globals.ledger();
    eprintln!(
        "\n{}\n{}{}\n",
        paint.attention("An approver sees:"),
        mock::heading(ledger),
        describe(&found, &request, &epoch)
    );
    let approve = if args.auto_approve || !std::io::stdin().is_terminal() {
        eprintln!("no one is asked: Anvil's public dev keys of the approvers sign in {READING_TIME_S} s");
        for left in (1..=READING_TIME_S).rev() {
            eprint!("{left} … ");
            std::io::stderr().flush()?;
            // The delay is the point: a person watching must be able to read what is signed.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        eprintln!();
        true
    } else {
        ask().await?
    };
    let keys = vote::dev_quorum(approve, &request, &epoch)?;
    let note: Note = if approve { "" } else { "denied at the demo's terminal" }
        .parse()
        .map_err(|e| CommandError::message(Exit::Failed, e))?;
    let chain_id = DEV_CHAIN_ID;
    let ballot = vote::Ballot { ledger, chain_id, located, found: &found, request: &request, approve, note: &note };
    for key in keys {
        channel.publish_vote(&ballot.sign(&key)?)?;
        let role = epoch.role_of(key.address()).unwrap_or("no role");
        eprintln!("{} {} ({role})", if approve { "signed: approve," } else { "signed: deny," }, key.address());
    }
    Ok(Some(approve))
}

async fn ask() -> Result<bool, CommandError> {
    loop {
        let answer = tokio::task::spawn_blocking(|| {
            eprint!("approve or deny? [a/d] ");
            std::io::stderr().flush()?;
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line)?;
            Ok::<_, std::io::Error>((read > 0).then_some(line))
        })
        .await
        .or_exit(Exit::Failed)??;
        match answer.as_deref().map(str::trim) {
            Some("a" | "approve") => return Ok(true),
            // The end of input is no consent.
            Some("d" | "deny") | None => return Ok(false),
            Some(_) => {}
        }
    }
}

/// Starts the bridge, and says where its ledger is.
async fn start_bridge(globals: &Globals, stage: &Stage, paint: Paint) -> Result<(Child, Globals), CommandError> {
    let mut command = guardrail(globals, &["bridge"])?;
    match globals.ledger() {
        LedgerKind::Evm => {}
        LedgerKind::Mock => {
            // The ledger is this demo's alone, so its account is locked for no one else. Who approves, the demo says.
            command.args(["--mock-approve", "on-request"]).env("GUARDRAIL_LOCK_DIR", stage.root.join("locks"));
        }
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(CommandError::message(Exit::Failed, "the bridge has no output to read"));
    };
    let mut lines = BufReader::new(stderr).lines();
    let ready = async {
        let mut seen = Vec::new();
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("bridge ready") {
                eprintln!("     {line}");
                return Ok(());
            }
            seen.push(line);
        }
        Err(CommandError::message(Exit::Failed, format!("the bridge ended before it was ready:\n{}", seen.join("\n"))))
    };
    match tokio::time::timeout(BRIDGE_TIMEOUT, ready).await {
        Ok(ready) => ready?,
        Err(_) => return Err(CommandError::message(Exit::Failed, "the bridge did not become ready")),
    }
    // Read to the end, so that the bridge never waits for a full pipe; its log file has it all.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(transaction) = line.strip_prefix("MOCK ") {
                eprintln!("{} {transaction}", paint.mock("MOCK"));
            }
        }
    });
    let mut globals = globals.clone();
    match globals.ledger() {
        LedgerKind::Evm => {}
        // A ready bridge has told the ledger's address, its one line of data.
        LedgerKind::Mock => globals.rpc_url = BufReader::new(stdout).lines().next_line().await?,
    }
    Ok((child, globals))
}

fn start_agent(globals: &Globals, workspace: &Path, prompt: &str) -> Result<Child, CommandError> {
    let mut command = guardrail(globals, &["run", "--thread", "demo", "--prompt", prompt])?;
    command.arg("--workspace").arg(workspace);
    Ok(command.stdin(Stdio::null()).spawn()?)
}

/// This same program, on the demo's directories.
fn guardrail(globals: &Globals, arguments: &[&str]) -> Result<Command, CommandError> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--config-dir")
        .arg(&globals.config_dir)
        .arg("--channel")
        .arg(globals.channel_dir())
        .arg("--state-dir")
        .arg(globals.state_dir())
        .args(["--rpc-url", globals.rpc_url()])
        .args(globals.mock_chain.then_some("--mock-chain"))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

async fn stop_child(child: &mut Child) -> Result<(), CommandError> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        match rustix::process::kill_process(pid, rustix::process::Signal::INT) {
            // It ended by itself meanwhile, which is what was asked for.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
    }
    child.wait().await?;
    Ok(())
}

/// Prints the line with which anyone sees the same events, and runs it where cast is present.
async fn cast_logs(
    globals: &Globals,
    args: &Args,
    provider: &RootProvider,
    located: Located,
) -> Result<(), CommandError> {
    // The deployment's own events come before the first request and say nothing of it.
    let requested = requests::logs(provider, located, Some(abi::AuthorizationRequested::SIGNATURE_HASH)).await?;
    let block = requested.first().and_then(|log| log.block_number).unwrap_or(located.from_block).to_string();
    let contract = located.contract.to_string();
    let arguments = ["logs", "--from-block", &block, "--address", &contract, "--rpc-url", globals.rpc_url()];
    eprintln!("\n$ cast {}", arguments.join(" "));
    let Some(cast) = find_tool("cast", &args.contracts) else {
        eprintln!("  (cast is not here; `make setup` brings it)");
        return Ok(());
    };
    let output = Command::new(cast).args(arguments).stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        return Err(CommandError::message(
            Exit::Failed,
            format!("cast failed: {}", String::from_utf8_lossy(&output.stderr)),
        ));
    }
    outln!("{}", String::from_utf8_lossy(&output.stdout).trim_end())?;
    Ok(())
}

fn say(paint: Paint, text: &str) {
    eprintln!("\n{}", paint.bold(&format!("── {text}")));
}

fn need_program(name: &str) -> Result<(), CommandError> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|dir| dir.join(name).is_file()) {
        return Ok(());
    }
    Err(CommandError::message(Exit::Usage, format!("there is no {name} on PATH"))
        .hint(format!("install {name}; the demo needs it")))
}

async fn git(dir: &Path, arguments: &[&str]) -> Result<(), CommandError> {
    let output = Command::new("git")
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    Err(CommandError::message(
        Exit::Failed,
        format!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)),
    ))
}

/// Copies files and directories, nothing else; caches of Python stay behind.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if kind.is_dir() && name != "__pycache__" && name != ".pytest_cache" {
            copy_tree(&entry.path(), &to.join(name))?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}
