// Writes artifacts/Authorization.json from the sources, byte for byte the same on every machine.
// With --check it writes nothing and exits 1 when the file in git is not what the sources give.
//
// forge compiles with the settings of foundry.toml into a scratch folder, so that an older build cannot leak in.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CONTRACT = "Authorization";
const SOURCE = `src/${CONTRACT}.sol`;
const TARGET = join(ROOT, "artifacts", `${CONTRACT}.json`);

function sortKeys(value) {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sortKeys(value[key])]),
  );
}

/// Byte ranges of the immutables, without the AST ids they are filed under, in order.
function immutableRanges(references) {
  return Object.values(references)
    .flat()
    .map(({ start, length }) => ({ length, start }))
    .sort((a, b) => a.start - b.start);
}

function build() {
  const scratch = mkdtempSync(join(tmpdir(), "guardrail-artifact-"));
  try {
    const forge = process.env.GUARDRAIL_FORGE ?? join(ROOT, "node_modules", ".bin", "forge");
    const out = join(scratch, "out");
    const args = ["build", SOURCE, "--root", ROOT, "--out", out, "--cache-path", join(scratch, "cache"), "--force"];
    execFileSync(forge, [...args, "--quiet"], { cwd: ROOT, stdio: ["ignore", "ignore", "inherit"] });
    return JSON.parse(readFileSync(join(out, `${CONTRACT}.sol`, `${CONTRACT}.json`), "utf8"));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function render() {
  const built = build();
  const { compiler, settings } = built.metadata;
  const artifact = {
    contractName: CONTRACT,
    sourceName: SOURCE,
    compiler: {
      version: compiler.version,
      settings: {
        evmVersion: settings.evmVersion,
        metadata: settings.metadata,
        optimizer: settings.optimizer,
        remappings: settings.remappings,
        viaIR: settings.viaIR ?? false,
      },
    },
    abi: built.abi,
    bytecode: built.bytecode.object,
    deployedBytecode: built.deployedBytecode.object,
    immutableReferences: immutableRanges(built.deployedBytecode.immutableReferences),
  };
  return `${JSON.stringify(sortKeys(artifact), null, 2)}\n`;
}

const text = render();
if (process.argv.includes("--check")) {
  let current = "";
  try {
    current = readFileSync(TARGET, "utf8");
  } catch {
    // A missing file differs from every text.
  }
  if (current !== text) {
    console.error("artifacts/Authorization.json is not what the sources give; run `npm run artifact` in contracts/");
    process.exit(1);
  }
} else {
  mkdirSync(dirname(TARGET), { recursive: true });
  writeFileSync(TARGET, text);
}
