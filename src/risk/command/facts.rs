//! What may be true of one program with its words: the vocabulary that rules are written in.

macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// One thing that may be true of an invocation; rules name it as `<name>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Fact {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Fact {
            pub const ALL: &[Fact] = &[$(Fact::$variant),*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Fact::$variant => $name,)*
                }
            }
        }
    };
}

facts! {
    /// A path is `/`, a home directory or a directory right below the root.
    Root = "root",
    /// A path is the workspace itself.
    WorkspaceRoot = "workspace_root",
    /// A path belongs to the operating system.
    System = "system",
    /// A path is neither in the workspace nor temporary.
    Outside = "outside",
    /// A path cannot be made again by a build.
    Lasting = "lasting",
    /// A path holds credentials.
    Secret = "secret",
    /// A path is a disk or memory.
    Device = "device",
    /// A path is run by itself later.
    Autorun = "autorun",
    /// A path says how software is built, deployed or hosted.
    Pipeline = "pipeline",
    /// A path is in the repository's own storage.
    GitDir = "git_dir",
    /// A word is only known when it runs.
    Dynamic = "dynamic",
    /// A path ends in a wildcard.
    Wildcard = "wildcard",
    /// A production environment is named.
    Production = "prod",
    /// A development or test environment is named, and no production one.
    Development = "dev",
    /// A protected branch is named.
    ProtectedBranch = "protected_branch",
    /// A host that is not this machine is named.
    Remote = "remote",
    /// This machine is named as the host.
    Loopback = "loopback",
    /// Statements that remove tables or databases.
    SqlDestructive = "sql_destructive",
    /// Statements that change every row.
    SqlUnbounded = "sql_unbounded",
    /// Statements that change who may do what.
    SqlPrivilege = "sql_privilege",
    /// Statements that reach the server's files or programs.
    SqlEscape = "sql_escape",
    /// Statements that change rows or shapes.
    SqlWrite = "sql_write",
    /// Code that removes files.
    CodeDestroys = "code_destroys",
    /// Code that runs programs or text.
    CodeExecutes = "code_executes",
    /// Code that opens connections.
    CodeConnects = "code_connects",
    /// Code that reads credentials.
    CodeSecrets = "code_secrets",
    /// Code that decodes.
    CodeDecodes = "code_decodes",
    /// Code is given on the command line or by a here-document.
    InlineCode = "inline_code",
    /// Reads what came from the network.
    InNetwork = "in_network",
    /// Reads what was decoded.
    InDecoded = "in_decoded",
    /// A word is made of what came from the network, or was decoded.
    GivenForeign = "given_foreign",
    /// Reads credentials.
    InSecret = "in_secret",
    /// Reads a dump of data.
    InDump = "in_dump",
    /// Reads something that is not known.
    InUnknown = "in_unknown",
    /// A word removes something for good.
    Destroys = "destroys",
    /// A word brings something to others.
    Releases = "releases",
    /// A word changes something.
    Alters = "alters",
    /// A word looks at something.
    Looks = "looks",
    /// The program with these words only looks.
    Reads = "reads",
    /// No rule and no list knows the program.
    Unknown = "unknown",
    /// The program's name is only known when it runs.
    DynamicProgram = "dynamic_program",
    /// A package's name is one slip away from a popular one.
    Typosquat = "typosquat",
    /// A package comes from outside the index.
    Foreign = "foreign",
    /// Words say that nothing shall happen.
    DryRun = "dry_run",
    /// Words ask for help alone.
    Help = "help",
    /// Runs as the administrator.
    Privileged = "privileged",
    /// Runs on another machine or in a container.
    Elsewhere = "elsewhere",
    /// No words follow.
    Bare = "bare",
}

/// A set of facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts(u64);

impl Facts {
    pub fn add(&mut self, fact: Fact) {
        self.0 |= 1 << fact as u64;
    }

    pub fn set(&mut self, fact: Fact, holds: bool) {
        if holds {
            self.add(fact);
        }
    }

    pub const fn has(self, fact: Fact) -> bool {
        self.0 & (1 << fact as u64) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Fact> {
        Fact::ALL.iter().copied().filter(move |fact| self.has(*fact))
    }
}
