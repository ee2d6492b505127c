//! Files that are more than files: with credentials, run by themselves, or deciding what is built and run.

pub(super) fn secret(path: &str, parts: &[&str], last: &str) -> bool {
    let public = last.ends_with(".pub")
        || [".example", ".sample", ".dist", ".template", ".tmpl", ".test", ".md"].iter().any(|end| last.ends_with(end));
    if public {
        return false;
    }
    let has = |name: &str| parts.contains(&name);
    last == ".env"
        || last.starts_with(".env.")
        || last.ends_with(".env") && last.len() > 4 && !has("bin")
        || last == ".envrc"
        || (last.ends_with(".pem")
            && !["cert", "chain", "ca", "ca-bundle", "bundle", "public", "pub", "root", "cacert", "fullchain"]
                .iter()
                .any(|word| last.trim_end_matches(".pem").split(['-', '_', '.']).any(|part| part == *word)))
        || [".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".tfstate", ".asc"]
            .iter()
            .any(|end| last.ends_with(end))
        || (last.ends_with(".key") && last != ".key")
        || last.starts_with("id_rsa")
        || last.starts_with("id_dsa")
        || last.starts_with("id_ecdsa")
        || last.starts_with("id_ed25519")
        || (has(".ssh") && !matches!(last, "known_hosts" | "config" | "authorized_keys"))
        || has(".gnupg")
        || has(".aws") && last != "config"
        || has(".azure")
        || path.contains(".config/gcloud")
        || has(".kube") && !has("cache")
        || path.contains(".docker/config.json")
        || path.contains("/run/secrets")
        || path.contains("etc/ssl/private")
        || path.contains(".config/gh/hosts")
        || path.contains("keychain")
        || matches!(
            last,
            ".netrc"
                | "_netrc"
                | ".pgpass"
                | ".my.cnf"
                | ".git-credentials"
                | ".npmrc"
                | ".pypirc"
                | ".htpasswd"
                | ".vault-token"
                | "kubeconfig"
                | "master.key"
                | "wallet.dat"
                | "shadow"
                | "gshadow"
                | "sudoers"
                | ".bash_history"
                | ".zsh_history"
                | ".psql_history"
                | ".mysql_history"
                | ".python_history"
                | "login data"
                | "cookies.sqlite"
                | "logins.json"
                | "key4.db"
                | "credentials.db"
                | "environ"
                | "ntds.dit"
                | "sam"
        )
        || path.contains("etc/sudoers.d")
        || path.contains("etc/shadow")
        || {
            let stem = last.split('.').next().unwrap_or_default().trim_start_matches('.');
            let data = !last.contains('.')
                || [
                    ".json",
                    ".yaml",
                    ".yml",
                    ".toml",
                    ".ini",
                    ".txt",
                    ".csv",
                    ".xml",
                    ".enc",
                    ".env",
                    ".cfg",
                    ".conf",
                    ".properties",
                    ".gpg",
                ]
                .iter()
                .any(|end| last.ends_with(end));
            let word = |stem: &str| {
                stem.split(|c: char| !c.is_alphanumeric()).any(|word| {
                    matches!(
                        word,
                        "secret"
                            | "secrets"
                            | "credential"
                            | "credentials"
                            | "passwd"
                            | "passwords"
                            | "password"
                            | "privatekey"
                            | "kubeconfig"
                    )
                })
            };
            data && !stem.is_empty()
                && last.contains('.')
                && (word(stem)
                    || stem.contains("service-account")
                    || stem.contains("service_account")
                    || stem.contains("serviceaccount")
                    || stem.contains("private_key")
                    || stem.contains("private-key"))
                || matches!(last, "credentials" | "secrets") && has(".cargo")
        }
}

pub(super) fn autorun(path: &str, parts: &[&str], last: &str) -> bool {
    matches!(
        last,
        "authorized_keys"
            | ".bashrc"
            | ".bash_profile"
            | ".profile"
            | ".zshrc"
            | ".zprofile"
            | ".zshenv"
            | ".bash_login"
            | ".bash_logout"
            | "crontab"
            | "rc.local"
            | "ld.so.preload"
            | ".xinitrc"
    ) || path.contains("etc/cron")
        || path.contains("/cron.d/")
        || path.contains("spool/cron")
        || path.contains("etc/systemd")
        || path.contains("systemd/system/")
        || path.contains("systemd/user/")
        || path.contains("etc/init.d")
        || path.contains("etc/profile")
        || path.contains("launchagents/")
        || path.contains("launchdaemons/")
        || path.contains("etc/pam.d")
        || path.contains("etc/ssh/")
        || matches!(
            path,
            "/etc/passwd" | "/etc/group" | "/etc/hosts" | "/etc/resolv.conf" | "/etc/sudoers" | "/etc/fstab"
        )
        || path.contains("etc/sudoers")
        || path.contains(".config/autostart")
        || path.contains(".git/hooks/")
        || path.ends_with(".git/hooks")
        || (parts.contains(&".git") && last == "config")
        || (parts.first() == Some(&".husky") && parts.len() > 1)
}

pub(super) fn pipeline(path: &str, parts: &[&str], last: &str) -> bool {
    let has = |name: &str| parts.contains(&name);
    let yaml = last.ends_with(".yml")
        || last.ends_with(".yaml")
        || last.ends_with(".json")
        || last.ends_with(".tpl")
        || last.ends_with(".jsonnet");
    let docs = last.ends_with(".md") || last.ends_with(".rst") || last.ends_with(".txt");
    !docs
        && ((has(".github")
            && (has("workflows") || has("actions") || last == "dependabot.yml" || last == "codeowners"))
            || has(".circleci")
            || has(".buildkite")
            || has(".woodpecker")
            || has(".tekton")
            || has(".argo")
            || has(".gitlab") && yaml
            || last.starts_with(".gitlab-ci")
            || last.starts_with("jenkinsfile")
            || last.ends_with(".jenkinsfile")
            || matches!(
                last,
                "azure-pipelines.yml"
                    | ".travis.yml"
                    | ".drone.yml"
                    | "appveyor.yml"
                    | "buildspec.yml"
                    | "bitbucket-pipelines.yml"
                    | "cloudbuild.yaml"
                    | "cloudbuild.yml"
                    | "codeowners"
                    | "procfile"
                    | "fly.toml"
                    | "vercel.json"
                    | "netlify.toml"
                    | "serverless.yml"
                    | "skaffold.yaml"
                    | "pulumi.yaml"
                    | "helmfile.yaml"
                    | "chart.yaml"
                    | "kustomization.yaml"
                    | "samconfig.toml"
                    | "render.yaml"
                    | "terragrunt.hcl"
                    | "capfile"
                    | "fabfile.py"
                    | "vault.hcl"
                    | "nginx.conf"
                    | "haproxy.cfg"
                    | ".goreleaser.yml"
                    | ".goreleaser.yaml"
                    | "wrangler.toml"
                    | "firebase.json"
                    | "cdk.json"
                    | "playbook.yml"
                    | "site.yml"
            )
            || [".tf", ".tfvars", ".tf.json", ".bicep", ".nomad"].iter().any(|end| last.ends_with(end))
            || (yaml
                && ([
                    "k8s",
                    "kubernetes",
                    "kube",
                    "helm",
                    "charts",
                    "manifests",
                    "ansible",
                    "argocd",
                    "argo",
                    "flux",
                    "deploy",
                    "deployment",
                    "deployments",
                    "infra",
                    "infrastructure",
                    "cloudformation",
                    "overlays",
                ]
                .iter()
                .any(|dir| parts[..parts.len().saturating_sub(1)].contains(dir))))
            || (yaml
                && [
                    "deployment",
                    "ingress",
                    "statefulset",
                    "daemonset",
                    "cronjob",
                    "clusterrole",
                    "rolebinding",
                    "networkpolicy",
                    "values-prod",
                    "values.prod",
                    "values-production",
                    "service-account",
                ]
                .iter()
                .any(|stem| last.starts_with(stem)))
            || (yaml && last.contains("compose") && last.contains("prod"))
            || has("terraform") && !last.ends_with(".lock.hcl") && last.ends_with(".hcl")
            || path.contains("infra/") && last.ends_with(".ts") && has("cdk"))
}
