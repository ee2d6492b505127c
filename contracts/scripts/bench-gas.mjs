// Measures the Authorization contract beside OpenZeppelin's TimelockController and AccessManager, by the gasUsed of
// receipts on one Anvil of its own, prints the table and writes gas-snapshot.json.
// With --check it writes nothing and exits 1 when a measurement is not what the snapshot says.
//
// Everything that goes into calldata is derived from fixed labels and a fixed clock, so two runs agree to the unit.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SNAPSHOT = join(ROOT, "gas-snapshot.json");
const BATCH_ITEMS = 200;
const START_SECONDS = 1_800_000_000;
const DELAY_SECONDS = 60;
const LIFETIME_SECONDS = 3600;
const RISK_BPS = 9500; // the line that needs two roles
const TOOL = "deploy_to_production";

const targets = {
  request: 1.05,
  "request item in a batch": 0.6,
  "whole life": 1.7,
  "decide + consume": 0.85,
};

const tool = (name) => process.env[`GUARDRAIL_${name.toUpperCase()}`] ?? join(ROOT, "node_modules", ".bin", name);
const run = (name, args) => execFileSync(tool(name), args, { cwd: ROOT, encoding: "utf8", maxBuffer: 1 << 28 }).trim();
const sha256 = (text) => `0x${createHash("sha256").update(text).digest("hex")}`;
const hex = (text) => `0x${Buffer.from(text, "utf8").toString("hex")}`;

/// Compiles into a scratch folder with the settings of foundry.toml; answers with creation code by contract name.
function compile() {
  const scratch = mkdtempSync(join(tmpdir(), "guardrail-bench-"));
  try {
    const out = join(scratch, "out");
    const paths = ["src/Authorization.sol", "test/bench/Baselines.sol"];
    run("forge", ["build", ...paths, "--root", ROOT, "--out", out, "--cache-path", join(scratch, "cache"), "--quiet"]);
    const code = (file, name) => JSON.parse(readFileSync(join(out, `${file}.sol`, `${name}.json`), "utf8"));
    const built = {
      Authorization: code("Authorization", "Authorization"),
      TimelockController: code("TimelockController", "TimelockController"),
      AccessManager: code("AccessManager", "AccessManager"),
      EmitTarget: code("Baselines", "EmitTarget"),
      StoreTarget: code("Baselines", "StoreTarget"),
    };
    const { compiler, settings } = built.Authorization.metadata;
    return {
      bytecode: Object.fromEntries(Object.entries(built).map(([name, artifact]) => [name, artifact.bytecode.object])),
      settings: {
        solc: compiler.version,
        evmVersion: settings.evmVersion,
        optimizerRuns: settings.optimizer.runs,
        viaIR: settings.viaIR ?? false,
        openzeppelin: JSON.parse(
          readFileSync(join(ROOT, "node_modules", "@openzeppelin", "contracts", "package.json"), "utf8"),
        ).version,
      },
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/// An Anvil on a port that the system picks; it ends with `stop`.
async function startChain() {
  const args = ["--port", "0", "--timestamp", String(START_SECONDS), "--hardfork", "osaka"];
  const child = spawn(tool("anvil"), args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`anvil ended with ${code}`);
  });
  ended.catch(() => {}); // only a failure while somebody waits for the port
  const listening = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      const match = /Listening on (\S+)/.exec(line);
      if (match) return `http://${match[1]}`;
    }
    throw new Error("anvil said no address");
  })();
  const url = await Promise.race([listening, ended]);
  child.stdout.resume();

  let serial = 0;
  let now = START_SECONDS;
  const rpc = async (method, ...params) => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: ++serial, method, params });
    const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const { result, error } = await answer.json();
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  };
  const wait = async (seconds) => {
    now += seconds;
    await rpc("evm_setNextBlockTimestamp", now);
  };
  const send = async (transaction) => {
    await wait(1);
    const hash = await rpc("eth_sendTransaction", { gas: "0xf42400", ...transaction });
    let receipt = null;
    for (let tries = 0; receipt === null; ++tries) {
      if (tries === 500) throw new Error(`transaction ${hash} has no receipt`);
      if (tries > 0) await sleep(10);
      receipt = await rpc("eth_getTransactionReceipt", hash);
    }
    if (receipt.status !== "0x1") throw new Error(`transaction ${hash} failed`);
    return receipt;
  };
  return {
    rpc,
    wait,
    now: () => now,
    accounts: await rpc("eth_accounts"),
    keccak: (text) => rpc("web3_sha3", hex(text)),
    /// Gas of a call that succeeds.
    call: async (from, to, signature, ...args) => {
      const { gasUsed } = await send({ from, to, data: run("cast", ["calldata", signature, ...args]) });
      return Number(gasUsed);
    },
    view: async (to, signature, ...args) =>
      rpc("eth_call", { to, data: run("cast", ["calldata", signature, ...args]) }, "latest"),
    deploy: async (from, code, signature, ...args) => {
      const data = signature ? code + run("cast", ["abi-encode", signature, ...args]).slice(2) : code;
      return (await send({ from, data })).contractAddress;
    },
    stop: async () => {
      const gone = once(child, "exit");
      if (child.exitCode === null && child.kill("SIGTERM")) await gone;
    },
  };
}

const REQUEST = "(bytes32,bytes32,bytes32,bytes32,address,uint40,uint16,uint64)";
const VOTE = "(address,bool,string,bytes)";

async function measureGuardrail(chain, bytecode) {
  const [admin, requester, second, operations, security] = chain.accounts;
  const auth = await chain.deploy(
    admin,
    bytecode.Authorization,
    "constructor(address,(address,uint8)[],(uint16,(uint8,uint8)[])[],(address,address)[])",
    admin,
    `[(${operations},1),(${security},2)]`,
    "[(0,[(0,1)]),(9000,[(1,1),(2,1)])]",
    `[(${requester},${requester}),(${second},${second})]`,
  );
  const toolHash = await chain.keccak(TOOL);
  const makeRequest = async (index, from) => {
    const requestId = `0193a1b2-0000-7000-8000-${String(index + 1).padStart(12, "0")}`;
    const hashes = [await chain.keccak(requestId), toolHash, sha256(`action ${index}`), sha256(`request ${index}`)];
    return { requestId, tuple: `(${hashes},${from},${chain.now() + LIFETIME_SECONDS},${RISK_BPS},1)` };
  };
  const request = ({ requestId, tuple }, from) =>
    chain.call(from, auth, `requestAuthorization(${REQUEST},string,string)`, tuple, requestId, TOOL);
  const signedVote = async (tuple, approver) => {
    const digest = await chain.view(auth, `hashVote(${REQUEST},bool,string)`, tuple, "true", "");
    const index = chain.accounts.indexOf(approver);
    const mnemonic = "test test test test test test test test test test test junk"; // Anvil's own
    const key = run("cast", ["wallet", "private-key", mnemonic, String(index)]);
    return `(${approver},true,"",${run("cast", ["wallet", "sign", "--no-hash", digest, "--private-key", key])})`;
  };

  const gas = {};
  const first = await makeRequest(0, requester);
  gas.request = await request(first, requester);
  const votes = `[${await signedVote(first.tuple, operations)},${await signedVote(first.tuple, security)}]`;
  gas.decide = await chain.call(requester, auth, `decide(${REQUEST},${VOTE}[])`, first.tuple, votes);
  gas.consume = await chain.call(requester, auth, `consume(${REQUEST},bytes32)`, first.tuple, sha256("claim"));
  const outcome = ["1", sha256("outcome")];
  gas.record = await chain.call(requester, auth, `recordExecution(${REQUEST},uint8,bytes32)`, first.tuple, ...outcome);

  gas["request by another bridge"] = await request(await makeRequest(1, second), second);

  const other = await makeRequest(2, requester);
  await request(other, requester);
  gas["vote, the first of two"] = await chain.call(
    operations, auth, `vote(${REQUEST},bool,string)`, other.tuple, "true", "",
  );
  gas["vote, the second of two"] = await chain.call(
    security, auth, `vote(${REQUEST},bool,string)`, other.tuple, "true", "",
  );

  const items = [];
  for (let i = 0; i < BATCH_ITEMS; ++i) items.push(await makeRequest(1000 + i, requester));
  const batch = await chain.call(
    requester,
    auth,
    `requestBatch(${REQUEST}[],string[],string[])`,
    `[${items.map(({ tuple }) => tuple)}]`,
    `[${items.map(({ requestId }) => requestId)}]`,
    `[${items.map(() => TOOL)}]`,
  );
  gas["request item in a batch"] = Math.round(batch / BATCH_ITEMS);
  return gas;
}

/// One account proposes and executes, as one requester requests and consumes; nobody else may.
async function measureTimelock(chain, bytecode, target) {
  const [admin, actor] = chain.accounts;
  const timelock = await chain.deploy(
    admin,
    bytecode.TimelockController,
    "constructor(uint256,address[],address[],address)",
    String(DELAY_SECONDS),
    `[${actor}]`,
    `[${actor}]`,
    admin,
  );
  const data = run("cast", ["calldata", "act(bytes32)", sha256("action 0")]);
  const operation = [target, "0", data, `0x${"0".repeat(64)}`, sha256("request 0")];
  const schedule = await chain.call(
    actor, timelock, "schedule(address,uint256,bytes,bytes32,bytes32,uint256)", ...operation, String(DELAY_SECONDS),
  );
  await chain.wait(DELAY_SECONDS);
  const execute = await chain.call(actor, timelock, "execute(address,uint256,bytes,bytes32,bytes32)", ...operation);
  return { schedule, execute };
}

async function measureAccessManager(chain, bytecode, target) {
  const [admin, actor] = chain.accounts;
  const role = "7";
  const manager = await chain.deploy(admin, bytecode.AccessManager, "constructor(address)", admin);
  const data = run("cast", ["calldata", "act(bytes32)", sha256("action 0")]);
  const selectors = `[${data.slice(0, 10)}]`;
  await chain.call(admin, manager, "setTargetFunctionRole(address,bytes4[],uint64)", target, selectors, role);
  await chain.call(admin, manager, "grantRole(uint64,address,uint32)", role, actor, String(DELAY_SECONDS));
  const schedule = await chain.call(actor, manager, "schedule(address,bytes,uint48)", target, data, "0");
  await chain.wait(DELAY_SECONDS);
  const execute = await chain.call(actor, manager, "execute(address,bytes)", target, data);
  return { schedule, execute };
}

async function measure() {
  const { bytecode, settings } = compile();
  const chain = await startChain();
  try {
    const [admin] = chain.accounts;
    const guardrail = await measureGuardrail(chain, bytecode);
    const baselines = {};
    for (const [kind, name] of [["emitting target", "EmitTarget"], ["storing target", "StoreTarget"]]) {
      const target = await chain.deploy(admin, bytecode[name]);
      baselines[`TimelockController, ${kind}`] = await measureTimelock(chain, bytecode, target);
      // Each manager marks its own operations, but the storing target must meet each action for the first time.
      const fresh = await chain.deploy(admin, bytecode[name]);
      baselines[`AccessManager, ${kind}`] = await measureAccessManager(chain, bytecode, fresh);
    }
    return { settings, guardrail, baselines };
  } finally {
    await chain.stop();
  }
}

function table({ guardrail: g, baselines }) {
  const rows = [];
  const lines = {
    request: g.request,
    "request item in a batch": g["request item in a batch"],
    "decide + consume": g.decide + g.consume,
    "whole life": g.request + g.decide + g.consume + g.record,
  };
  const bases = Object.entries(baselines);
  for (const [name, gas] of Object.entries(lines)) {
    for (const [base, { schedule, execute }] of bases) {
      const scheduleOnly = name.startsWith("request");
      // What is scheduled does not change what scheduling costs.
      if (scheduleOnly && !base.endsWith("storing target")) continue;
      const against = scheduleOnly ? schedule : schedule + execute;
      const ratio = gas / against;
      const judged = base === "TimelockController, storing target";
      rows.push([
        name,
        gas,
        `${scheduleOnly ? base.split(",")[0] : base}: ${scheduleOnly ? "schedule" : "schedule + execute"}`,
        against,
        ratio.toFixed(3),
        judged ? `≤ ${targets[name].toFixed(2)}` : "",
        judged ? (ratio <= targets[name] ? "met" : "MISSED") : "",
      ]);
    }
  }
  return rows;
}

function print(measured) {
  const align = (rows) => {
    const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
    const cell = (value, i) =>
      typeof value === "number" ? String(value).padStart(widths[i]) : String(value).padEnd(widths[i]);
    return rows.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
  };
  const { settings, guardrail, baselines } = measured;
  console.log(Object.entries(settings).map(([name, value]) => `${name} ${value}`).join(", "));
  console.log(`\n${align([["what", "gas", "beside", "gas", "ratio", "target", ""], ...table(measured)])}\n`);
  const single = Object.entries(guardrail).map(([name, gas]) => [`Authorization: ${name}`, gas]);
  for (const [name, parts] of Object.entries(baselines)) {
    for (const [part, gas] of Object.entries(parts)) single.push([`${name}: ${part}`, gas]);
  }
  console.log(`${align(single)}\n`);
  console.log(
    "A target is judged beside a TimelockController whose target writes one new slot: `execute` is there to change\n" +
      "something, and this is the least change there is. The rows with an emitting target show what is left when\n" +
      "nothing is changed at all. Neither controller collects votes or records an outcome; that is what the four\n" +
      "transactions of a whole life pay for, 21,000 gas each before the first instruction.",
  );
}

/// Differences from the snapshot, as lines to read.
function compare(before, after, path = "") {
  if (typeof after !== "object" || after === null || typeof before !== "object" || before === null) {
    if (before === after) return [];
    const change = typeof before === "number" && typeof after === "number" ? ` (${after > before ? "+" : ""}${after - before})` : "";
    return [`${path}: ${before} in the snapshot, ${after} measured${change}`];
  }
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) => compare(before[name], after[name], path ? `${path} / ${name}` : name));
}

const measured = await measure();
print(measured);
if (process.argv.includes("--check")) {
  let snapshot = {};
  try {
    snapshot = JSON.parse(readFileSync(SNAPSHOT, "utf8"));
  } catch {
    // A missing or broken snapshot differs in everything.
  }
  const differences = compare(snapshot, measured);
  if (differences.length > 0) {
    console.error(`\ngas-snapshot.json is not what was measured; if it is meant, run \`npm run bench-gas\`:`);
    for (const difference of differences) console.error(`  ${difference}`);
    process.exitCode = 1;
  }
} else {
  writeFileSync(SNAPSHOT, `${JSON.stringify(measured, null, 2)}\n`);
}
