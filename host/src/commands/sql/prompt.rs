//! The prompt: line editing, history, completion and, for the session behind it, a loop.

use super::complete;
use super::input;
use super::shell::{Ended, Shell};
use crate::kinds::Kinds;
use kybern_kube::Cluster;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;

/// What stands before the cursor.
const PROMPT: &str = "kybern> ";
/// Statements that the history keeps.
const HISTORY: usize = 1000;

/// Reads and does until whoever types leaves.
pub(crate) async fn run(mut shell: Shell) -> anyhow::Result<()> {
    let assistant = Assistant {
        kinds: shell.session.kinds().clone(),
        cluster: shell.session.cluster().cloned(),
        handle: Handle::current(),
    };
    let mut prompt = Prompt::open(assistant)?;
    shell.cancel_on_interrupt()?;
    eprintln!(
        "kybern {}; \\? for help, \\q to leave",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        let read = tokio::task::block_in_place(|| prompt.read())?;
        match read {
            Read::Input(input) if shell.run(&input).await == Ended::Left => return Ok(()),
            Read::Input(_) | Read::Interrupted => {}
            Read::End => return Ok(()),
        }
    }
}

/// What was read.
enum Read {
    Input(String),
    /// Ctrl-C: what was typed is thrown away.
    Interrupted,
    /// Ctrl-D.
    End,
}

struct Prompt {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    fn open(assistant: Assistant) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let entries = FileHistory::with_config(&config);
        let mut editor = Editor::with_history(config, entries)?;
        editor.set_helper(Some(assistant));
        let history = crate::environment::state_dir().and_then(|dir| history(&dir));
        if let Some(history) = &history {
            // There is none yet, or it cannot be read: then there is no history.
            let _ = editor.load_history(history);
        }
        Ok(Self { editor, history })
    }

    fn read(&mut self) -> anyhow::Result<Read> {
        match self.editor.readline(PROMPT) {
            Ok(input) => {
                self.remember(&input);
                Ok(Read::Input(input))
            }
            Err(ReadlineError::Interrupted) => Ok(Read::Interrupted),
            Err(ReadlineError::Eof) => Ok(Read::End),
            Err(error) => Err(error.into()),
        }
    }

    /// At once, so that another session or a crash loses nothing.
    fn remember(&mut self, input: &str) {
        if input.trim().is_empty() {
            return;
        }
        let added = self.editor.add_history_entry(input.trim_end());
        if let (Ok(true), Some(history)) = (added, &self.history) {
            // A history that cannot be written is no fault of the statement.
            let _ = self.editor.append_history(history);
        }
    }
}

/// The history's file; none if its directory cannot be made.
fn history(dir: &Path) -> Option<PathBuf> {
    std::fs::create_dir_all(dir).ok()?;
    Some(dir.join("sql_history"))
}

/// Completes, and knows when the input is whole.
struct Assistant {
    kinds: Kinds,
    cluster: Option<Cluster>,
    handle: Handle,
}

impl Assistant {
    /// Reads the schemas of the tables that are named: paths come from there.
    fn learn(&self, input: &str) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let catalog = self.kinds.catalog();
        for named in complete::tables_in(input) {
            if let Some(table) = named.find(&catalog) {
                let key = &table.def.key;
                if self.kinds.wants_types(&key.group, &key.version) {
                    let learn = self.kinds.learn_types(cluster, &key.group, &key.version);
                    self.handle.block_on(learn);
                }
            }
        }
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        input: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        self.learn(input);
        Ok(complete::complete(input, cursor, &self.kinds.catalog()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match input::is_complete(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}
impl Helper for Assistant {}
