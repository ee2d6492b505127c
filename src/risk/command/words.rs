//! Assignments, redirections and the words that are made by running something.

use brush_parser::ast::{IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, ProcessSubstitutionKind, Word};

use super::expand::{self, Field};
use super::invocation::Source;
use super::walk::{Around, Walker};
use crate::risk::text::paths::PathClass;

impl Walker<'_> {
    pub fn assign(&mut self, name: &str, value: &Field) {
        self.emit_assignment(name, value, &Around::default());
        if value.dynamic {
            self.variables.forget(name);
        } else {
            self.variables.set(name, &value.text);
        }
        if value.text.len() <= 128 && names_place(name) {
            self.act_on([value.text.clone()]);
        }
    }

    /// Variables that change what other programs do are programs of their own to the rules.
    pub(super) fn emit_assignment(&mut self, name: &str, value: &Field, around: &Around) {
        let loads = matches!(
            name,
            "LD_PRELOAD"
                | "LD_LIBRARY_PATH"
                | "DYLD_INSERT_LIBRARIES"
                | "PROMPT_COMMAND"
                | "BASH_ENV"
                | "ENV"
                | "GIT_SSH_COMMAND"
                | "PATH"
                | "PERL5OPT"
                | "NODE_OPTIONS"
                | "PYTHONSTARTUP"
                | "HISTFILE"
                | "HISTSIZE"
                | "GIT_SSL_NO_VERIFY"
                | "NODE_TLS_REJECT_UNAUTHORIZED"
                | "PYTHONHTTPSVERIFY"
        );
        let holds = ["SECRET", "PASSWORD", "TOKEN", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"]
            .iter()
            .any(|part| name.contains(part));
        if loads || holds {
            let words = vec![Field { text: name.to_owned(), ..Field::default() }, value.clone()];
            self.emit(
                "set_variable",
                "set_variable",
                words,
                &Around { context: around.context.clone(), ..Around::default() },
            );
        }
    }

    pub(super) fn redirect(&mut self, redirect: &IoRedirect, around: &mut Around) {
        match redirect {
            IoRedirect::File(_, kind, target) => match target {
                IoFileRedirectTarget::Filename(word) => {
                    let field = self.one(word, around);
                    match kind {
                        IoFileRedirectKind::Read => {
                            let secret = PathClass::of(&field.text, &self.cwd).secret;
                            self.emit(
                                "read_from",
                                "<",
                                vec![field],
                                &Around { context: around.context.clone(), ..Around::default() },
                            );
                            around.stdin = if secret { Source::Secret } else { Source::Local };
                        }
                        IoFileRedirectKind::Write | IoFileRedirectKind::Clobber | IoFileRedirectKind::ReadAndWrite => {
                            self.emit(
                                "write_to",
                                ">",
                                vec![field],
                                &Around { facts: around.facts, ..Around::default() },
                            );
                        }
                        IoFileRedirectKind::Append => {
                            self.emit(
                                "append_to",
                                ">>",
                                vec![field],
                                &Around { facts: around.facts, ..Around::default() },
                            );
                        }
                        IoFileRedirectKind::DuplicateInput | IoFileRedirectKind::DuplicateOutput => {}
                    }
                }
                IoFileRedirectTarget::ProcessSubstitution(process, subshell) => {
                    let inner = Around { stdin: Source::Local, ..around.clone() };
                    let source = self.list(&subshell.list, &inner);
                    if matches!(process, ProcessSubstitutionKind::Read) {
                        around.stdin = source;
                    }
                }
                IoFileRedirectTarget::Fd(_) => {}
                IoFileRedirectTarget::Duplicate(word) => {
                    let field = self.one(word, around);
                    // `>&2` and `2>&-` name descriptors, `>& file` writes a file.
                    if !field.text.chars().all(|c| c.is_ascii_digit() || c == '-') {
                        self.emit("write_to", ">&", vec![field], &Around { facts: around.facts, ..Around::default() });
                    }
                }
            },
            IoRedirect::HereDocument(_, document) => {
                let text = document.doc.value.clone();
                if document.requires_expansion {
                    self.substitutions_of(&text, around);
                }
                around.stdin = Source::Literal(text);
            }
            IoRedirect::HereString(_, word) => {
                let (fields, source) = self.word(word, around);
                let text = fields.into_iter().map(|field| field.text).collect::<Vec<_>>().join(" ");
                around.stdin = source.unwrap_or(Source::Literal(text));
            }
            IoRedirect::OutputAndError(word, _) => {
                let field = self.one(word, around);
                self.emit("write_to", ">", vec![field], &Around { facts: around.facts, ..Around::default() });
            }
        }
    }

    /// The fields of a word; what its substitutions would write where it is one of them alone.
    pub(super) fn word(&mut self, word: &Word, around: &Around) -> (Vec<Field>, Option<Source>) {
        let expanded = expand::expand(&word.value, &self.variables, &self.options);
        let mut source = None;
        for command in &expanded.substitutions {
            source = Some(self.inner(command, around));
        }
        (expanded.fields, source)
    }

    pub(super) fn one(&mut self, word: &Word, around: &Around) -> Field {
        let (field, substitutions) = expand::expand_to_one(&word.value, &self.variables, &self.options);
        for command in &substitutions {
            self.inner(command, around);
        }
        field
    }

    /// A command whose output becomes words.
    pub fn inner(&mut self, command: &str, around: &Around) -> Source {
        let (cwd, session) = (self.cwd.clone(), self.session.len());
        let inner = Around { stdin: Source::Nothing, given: Source::Nothing, ..around.clone() };
        let source = self.text(command, &inner);
        self.cwd = cwd;
        self.session.truncate(session);
        source
    }

    pub(super) fn substitutions_of(&mut self, text: &str, around: &Around) {
        if text.contains("$(") || text.contains('`') {
            let quoted = format!("\"{}\"", text.replace('"', ""));
            let (_, substitutions) = expand::expand_to_one(&quoted, &self.variables, &self.options);
            for command in &substitutions {
                self.inner(command, around);
            }
        }
    }
}

/// Variables whose value says where programs act.
fn names_place(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    [
        "ENV",
        "PROFILE",
        "CONTEXT",
        "KUBECONFIG",
        "HOST",
        "STAGE",
        "TARGET",
        "CLUSTER",
        "NAMESPACE",
        "PROJECT",
        "DATABASE_URL",
        "WORKSPACE",
        "REGION",
        "DEPLOY",
    ]
    .iter()
    .any(|part| name.contains(part))
}
