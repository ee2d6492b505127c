//! Names of packages that are one slip away from a popular one.

/// Popular packages of PyPI, npm and crates.io that names are compared with; written for this
/// check, not complete, and not meant to be: what matters is what people install without looking.
const POPULAR: [&str; 246] = [
    "requests",
    "urllib3",
    "numpy",
    "pandas",
    "scipy",
    "matplotlib",
    "django",
    "flask",
    "fastapi",
    "uvicorn",
    "gunicorn",
    "sqlalchemy",
    "alembic",
    "pydantic",
    "pytest",
    "pytest-cov",
    "setuptools",
    "wheel",
    "virtualenv",
    "cryptography",
    "paramiko",
    "boto3",
    "botocore",
    "awscli",
    "pyyaml",
    "jinja2",
    "markupsafe",
    "click",
    "colorama",
    "certifi",
    "idna",
    "chardet",
    "charset-normalizer",
    "python-dateutil",
    "python-dotenv",
    "beautifulsoup4",
    "selenium",
    "scrapy",
    "celery",
    "redis",
    "psycopg2",
    "psycopg2-binary",
    "pymongo",
    "mysqlclient",
    "pillow",
    "opencv-python",
    "tensorflow",
    "torch",
    "torchvision",
    "keras",
    "scikit-learn",
    "transformers",
    "openai",
    "anthropic",
    "langchain",
    "httpx",
    "aiohttp",
    "websockets",
    "tornado",
    "twisted",
    "werkzeug",
    "black",
    "flake8",
    "pylint",
    "mypy",
    "isort",
    "ruff",
    "poetry",
    "pipenv",
    "ipython",
    "jupyter",
    "notebook",
    "seaborn",
    "plotly",
    "streamlit",
    "tqdm",
    "rich",
    "typer",
    "attrs",
    "packaging",
    "protobuf",
    "grpcio",
    "docker",
    "kubernetes",
    "ansible",
    "fabric",
    "pyjwt",
    "passlib",
    "bcrypt",
    "oauthlib",
    "google-auth",
    "google-cloud-storage",
    "azure-identity",
    "pycryptodome",
    "lxml",
    "openpyxl",
    "xlrd",
    "networkx",
    "sympy",
    "nltk",
    "spacy",
    "gensim",
    "jellyfish",
    "simplejson",
    "ujson",
    "orjson",
    "marshmallow",
    "tenacity",
    "lodash",
    "express",
    "react",
    "react-dom",
    "react-router",
    "react-router-dom",
    "redux",
    "vue",
    "vuex",
    "angular",
    "svelte",
    "next",
    "nuxt",
    "axios",
    "moment",
    "dayjs",
    "date-fns",
    "chalk",
    "commander",
    "yargs",
    "inquirer",
    "debug",
    "dotenv",
    "cross-env",
    "webpack",
    "webpack-cli",
    "rollup",
    "vite",
    "esbuild",
    "parcel",
    "babel-core",
    "babel-loader",
    "eslint",
    "prettier",
    "typescript",
    "ts-node",
    "nodemon",
    "jest",
    "mocha",
    "chai",
    "sinon",
    "cypress",
    "playwright",
    "puppeteer",
    "socket.io",
    "mongoose",
    "sequelize",
    "prisma",
    "typeorm",
    "knex",
    "passport",
    "jsonwebtoken",
    "bcryptjs",
    "cors",
    "helmet",
    "body-parser",
    "cookie-parser",
    "morgan",
    "winston",
    "async",
    "bluebird",
    "underscore",
    "ramda",
    "rxjs",
    "immer",
    "zod",
    "uuid",
    "nanoid",
    "classnames",
    "styled-components",
    "tailwindcss",
    "bootstrap",
    "jquery",
    "d3",
    "three",
    "graphql",
    "apollo-server",
    "rimraf",
    "glob",
    "minimist",
    "semver",
    "fs-extra",
    "node-fetch",
    "husky",
    "lint-staged",
    "electron",
    "discord.js",
    "event-stream",
    "ua-parser-js",
    "coa",
    "serde",
    "serde_json",
    "tokio",
    "clap",
    "anyhow",
    "thiserror",
    "reqwest",
    "hyper",
    "axum",
    "actix-web",
    "rocket",
    "diesel",
    "sqlx",
    "tracing",
    "rayon",
    "regex",
    "chrono",
    "futures",
    "rand",
    "itertools",
    "once_cell",
    "lazy_static",
    "crossbeam",
    "rustdecimal",
    "rust_decimal",
    "bitflags",
    "parking_lot",
    "gitpython",
    "markdown",
    "nose",
    "sphinx",
    "tabulate",
    "termcolor",
    "ccxt",
    "web3",
    "ethers",
    "hardhat",
    "truffle",
    "rails",
    "rspec",
    "sinatra",
    "devise",
    "sidekiq",
    "nokogiri",
    "bundler",
    "rubocop",
    "activerecord",
    "capistrano",
];

/// Shortest name that is compared, with popular ones that are longer: shorter ones have too many
/// true neighbours.
const NAME_CHARS_MIN: usize = 4;

/// Well-known packages whose names happen to be near another's.
const REAL: [&str; 46] = [
    "request",
    "preact",
    "reacts",
    "typed",
    "flasks",
    "torchvision",
    "vuex",
    "jests",
    "chalks",
    "rollups",
    "colorama",
    "nextjs",
    "httpx2",
    "asyncpg",
    "asyncio",
    "hyperx",
    "regex",
    "click",
    "clicks",
    "pytest",
    "pylint",
    "pyjwt",
    "djangos",
    "celery",
    "pendulum",
    "psycopg",
    "psycopg3",
    "pyyaml",
    "ruamel",
    "redis-py",
    "markdown2",
    "markdown3",
    "mocha",
    "express",
    "cookie",
    "coveralls",
    "attr",
    "boto",
    "http",
    "https",
    "future",
    "websocket",
    "args",
    "slack",
    "flash",
    "numba",
];

/// The popular package that `name` is one edit away from, where it is not popular itself.
pub fn near_miss(name: &str) -> Option<&'static str> {
    let name = bare(name);
    let lower = name.to_lowercase();
    if lower.chars().count() < NAME_CHARS_MIN || POPULAR.contains(&lower.as_str()) || REAL.contains(&lower.as_str()) {
        return None;
    }
    let like = lookalike(&lower);
    POPULAR.iter().copied().find(|popular| {
        popular.chars().count() > NAME_CHARS_MIN
            && popular.len().abs_diff(lower.len()) <= 2
            && !same_but_separators(popular, &lower)
            && (strsim::osa_distance(popular, &lower) == 1
                || (like != lower && lookalike(popular) == like)
                || squeezed(popular) == squeezed(&lower))
    })
}

/// PyPI takes `-`, `_` and `.` for the same; a name without the sign is another name.
fn same_but_separators(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.chars()
            .zip(b.chars())
            .all(|(x, y)| x == y || (matches!(x, '-' | '_' | '.') && matches!(y, '-' | '_' | '.')))
}

fn squeezed(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | '.')).collect()
}

/// Digits and signs as the letters they are drawn like.
fn lookalike(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '0' => 'o',
            '1' | 'i' => 'l',
            '3' => 'e',
            '5' => 's',
            other => other,
        })
        .collect::<String>()
        .replace("rn", "m")
        .replace("vv", "w")
}

/// A requirement's name: without scope, version, extras and markers.
pub fn bare(requirement: &str) -> &str {
    let name = requirement.trim();
    let name = if name.starts_with('@') { name.rsplit_once('/').map_or(name, |(_, name)| name) } else { name };
    name.split(['=', '<', '>', '!', '~', '[', ';', '@', ' ', '^']).next().unwrap_or(name).trim()
}

/// Whether a requirement comes from somewhere that no index vouches for.
pub fn is_foreign(requirement: &str) -> bool {
    let lower = requirement.to_lowercase();
    ["http://", "https://", "git+", "git://", "ssh://", "git@", "file://", "ftp://", "svn+", "hg+"].iter().any(
        |scheme| {
            lower.starts_with(scheme) || lower.contains(&format!("@{scheme}")) || lower.contains(&format!("@ {scheme}"))
        },
    ) || lower.starts_with("github:")
        || lower.starts_with("gitlab:")
        || (lower.contains("://") && !lower.contains("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_away() {
        for (name, popular) in [
            ("reqeusts", "requests"),
            ("requets", "requests"),
            ("djnago", "django"),
            ("crossenv", "cross-env"),
            ("lodahs", "lodash"),
            ("expresss==1.0", "express"),
            ("nurnpy", "numpy"),
            ("serde_jso", "serde_json"),
            ("co1orama", "colorama"),
            ("@types/lodahs", "lodash"),
        ] {
            assert!(near_miss(name).is_some(), "{name} {popular}");
        }
        for name in [
            "requests",
            "requests==2.31.0",
            "python_dateutil",
            "flask",
            "my-own-package",
            "django-rest-framework",
            "pytest-mock",
            "numpy>=1.20",
        ] {
            assert_eq!(near_miss(name), None, "{name}");
        }
        assert!(
            is_foreign("git+https://github.com/x/y")
                && is_foreign("pkg @ https://e.org/x.whl")
                && !is_foreign("pkg>=1")
        );
    }
}
