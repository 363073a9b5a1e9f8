//! SUBSCRIBE: shows what becomes of an answer until Ctrl-C.

use super::failure::Failure;
use super::output::Changes;
use super::shell::{Shell, cancellable};
use crate::asking::HostError;
use crate::terminal;

impl Shell {
    /// Shows what happens until Ctrl-C; then says how to go on.
    pub(super) async fn subscribe(&mut self, statement: &str) -> Result<(), Failure> {
        // It ends in good order where nobody types at a prompt, too.
        if self.interrupts.is_none() {
            self.cancel_on_interrupt().map_err(anyhow::Error::from)?;
        }
        let (session, interrupts) = (&mut self.session, &mut self.interrupts);
        let begin = session.subscribe(statement);
        let mut feed = match cancellable(interrupts, begin).await {
            Err(Failure::Cancelled) => return Ok(()),
            begun => begun?,
        };
        let mut changes = Changes::new(self.style, feed.key.clone(), feed.marks);
        let mut told: Option<String> = None;
        terminal::write(self.between);
        self.between = self.style.separator();
        loop {
            let next = async { Ok(feed.next().await?) };
            let news = match cancellable(&mut self.interrupts, next).await {
                Err(Failure::Cancelled) => break,
                Ok(None) => return Err(ended(&told)),
                other => other?,
            };
            let Some(news) = news else { break };
            terminal::write(&changes.render(&news)?);
            for what in news.of {
                match &*what.op {
                    "progress" => told = what.text,
                    "error" => {
                        let text = what.text.unwrap_or_default() + &resume(&told);
                        let at_fault = false;
                        return Err(HostError::Refused { at_fault, text }.into());
                    }
                    _ => {}
                }
            }
        }
        eprint!("{}", resume(&told));
        Ok(())
    }
}

/// The host is gone.
fn ended(told: &Option<String>) -> Failure {
    let text = format!("error: the host has ended\n{}", resume(told));
    HostError::Refused {
        at_fault: false,
        text,
    }
    .into()
}

/// How to go on behind what was told.
fn resume(told: &Option<String>) -> String {
    match told {
        Some(mark) => format!("to go on from here: SUBSCRIBE WITH (RESUME '{mark}') SELECT ...\n"),
        None => String::new(),
    }
}
