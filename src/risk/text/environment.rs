//! Which environment a word names.

/// Whether words name an environment that people rely on, or one that nobody does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    pub production: bool,
    pub development: bool,
}

impl Environment {
    pub fn of(text: &str) -> Environment {
        let mut found = Environment::default();
        if matches!(text, "live" | "LIVE" | "Live") {
            found.production = true;
        }
        for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            if word.len() < 2 {
                continue;
            }
            found.production |= is_production(word);
            found.development |= is_development(word);
        }
        found
    }

    pub fn with(self, other: Environment) -> Environment {
        Environment {
            production: self.production || other.production,
            development: self.development || other.development,
        }
    }
}

fn is_production(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    lower == "production"
        || lower == "prd"
        || lower == "mainnet"
        || (lower.starts_with("prod") && !lower.starts_with("produc") && !lower.starts_with("prodig"))
        || (lower.ends_with("prod") && lower.len() > 4 && !lower.starts_with("non"))
}

fn is_development(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(
        stem,
        "dev"
            | "devel"
            | "develop"
            | "development"
            | "test"
            | "tests"
            | "testing"
            | "tst"
            | "staging"
            | "stage"
            | "stg"
            | "local"
            | "localhost"
            | "localstack"
            | "kind"
            | "minikube"
            | "sandbox"
            | "preview"
            | "qa"
            | "uat"
            | "demo"
            | "scratch"
            | "playground"
            | "ephemeral"
            | "nonprod"
            | "feature"
            | "k3d"
            | "fixtures"
            | "testdb"
            | "devdb"
            | "dummy"
    ) || (stem.starts_with("test") && stem.len() <= 8 && stem != "testament")
        || lower == "127"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_environments() {
        for text in ["prod", "production", "api-prod-2", "PROD_DB", "prod1", "live", "webprod", "eu.prd.example.org"] {
            assert!(Environment::of(text).production, "{text}");
        }
        for text in ["product", "products", "producer", "reproduce", "alive", "live-reload", "nonprod"] {
            assert!(!Environment::of(text).production, "{text}");
        }
        for text in ["dev", "staging", "kind-test", "localhost:5432", "qa2", "test_db"] {
            assert!(Environment::of(text).development, "{text}");
        }
        assert!(!Environment::of("device").development && !Environment::of("latest").development);
    }
}
