//! A temporary directory with an input, an output and what happens between them.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Place {
    pub(crate) root: tempfile::TempDir,
}

/// What a command came to.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", self.stdout, self.stderr))
    }
}

/// A process that ends with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A binary of this workspace, which must have been built.
pub(crate) fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is not built: run `make test`, which builds it first", path.display());
    path
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Python with pyarrow, DuckDB and Polars, which `make test` installs.
pub(crate) fn python() -> Command {
    let path = std::env::var_os("MILLWORK_PYTHON").map_or_else(|| repository().join(".venv/bin/python"), PathBuf::from);
    assert!(path.exists(), "{} is not there: run `make test`, which installs it", path.display());
    Command::new(path)
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("in")).unwrap();
        Self { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A command of a user whose session has its private directory here: a scheduler leaves a token there for the clients of
    /// that user.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary(name));
        command.env("XDG_RUNTIME_DIR", self.path("session"));
        command
    }

    /// The file of the token that a scheduler with this HTTP port leaves for its user.
    pub(crate) fn token_file(&self, port: u16) -> PathBuf {
        self.path(&format!("session/millwork/api-127.0.0.1-{port}.token"))
    }

    /// A token in the header of a request that has none.
    pub(crate) fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::Request {
        let mut request = request.build().unwrap();
        let token = request.url().port().and_then(|port| fs::read_to_string(self.token_file(port)).ok());
        if let (Some(token), false) = (token, request.headers().contains_key("authorization")) {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        request
    }

    /// Writes an input file.
    pub(crate) fn input(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn generate(&self, arguments: &[&str]) {
        let output = Command::new(binary("millwork")).arg("generate").arg(self.path("in")).args(arguments).output();
        let done = Done::of(output.unwrap());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }

    /// `millwork run`, ready to be started: files of any size, rejected lines in `quarantine/`.
    pub(crate) fn run_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("millwork"));
        command.args(["run", "--json"]).env("SIZE_TOLERANCE_PERCENT", "100");
        command.arg("--input").arg(self.path("in")).arg("--output").arg(self.path("out"));
        command.arg("--quarantine").arg(self.path("quarantine")).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.run_command(arguments).output().unwrap())
    }

    /// Runs and expects that every manifest completed.
    pub(crate) fn run_well(&self, arguments: &[&str]) -> Value {
        let done = self.run(arguments);
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    /// Asks the oracle whether all output is what the input says. Returns its counts.
    pub(crate) fn ask_oracle(&self, arguments: &[&str]) -> Value {
        let mut command = python();
        command.arg(repository().join("tests/oracle/check.py"));
        command.arg("--input").arg(self.path("in")).arg("--output").arg(self.path("out"));
        command.arg("--rejected").arg(self.path("quarantine")).args(arguments);
        let done = Done::of(command.output().unwrap());
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        done.json()
    }

    /// Every file below a directory, with its path from there.
    pub(crate) fn files(&self, name: &str) -> Vec<String> {
        let root = self.path(name);
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(path.strip_prefix(&root).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) fn parquet_files(&self) -> Vec<String> {
        self.files("out").into_iter().filter(|name| name.ends_with(".parquet")).collect()
    }

    /// No private files, and nothing that a reader would take for output beside the output.
    pub(crate) fn assert_tidy(&self) {
        let known = |name: &String| {
            name.starts_with("merged-parquet-") && name.ends_with(".parquet")
                || name.starts_with("_millwork/state.")
                || name == "_millwork/output.lock"
                || name.starts_with("_millwork/manifests/")
                || name.starts_with("_millwork/states/")
        };
        let stray: Vec<_> = self.files("out").into_iter().filter(|name| !known(name)).collect();
        assert!(stray.is_empty(), "{stray:?}");
        assert!(!self.path("out/_millwork/staging").exists());
    }
}

/// Starts a process whose output goes to a file.
pub(crate) fn start(mut command: Command, log: &Path) -> Running {
    let log = fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Running(command.spawn().unwrap())
}

/// Waits for a condition.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a process has ended. Returns its exit code; none, if a signal ended it.
pub(crate) fn wait_for_end(process: &mut Running) -> Option<i32> {
    let mut status = None;
    wait_until("the process ends", || {
        status = process.0.try_wait().unwrap();
        status.is_some()
    });
    status.and_then(|status| status.code())
}

/// Sends a signal by name, such as `KILL`.
pub(crate) fn signal(process: &Running, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.0.id().to_string()).status();
    assert!(status.unwrap().success());
}
