//! Starts child processes that end with this process, however it ends.
//!
//! # Why
//! Linux sends the parent-death signal when the *thread* that started the child
//! ends, and tests run on threads that end. So one thread, which lives as long
//! as the process, starts all children.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{LazyLock, Mutex, PoisonError};

struct Job {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

static SPAWNER: LazyLock<io::Result<Mutex<Sender<Job>>>> = LazyLock::new(|| {
    let (jobs, inbox) = channel();
    std::thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || run(&inbox))?;
    Ok(Mutex::new(jobs))
});

/// Starts `command`; the child is killed when this process ends for whatever reason.
///
/// # Errors
/// The operating system's.
pub fn spawn(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the spawner thread is gone");
    let jobs = SPAWNER
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (answer, result) = sync_channel(1);
    jobs.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Job { command, answer })
        .map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

fn run(inbox: &Receiver<Job>) {
    for Job {
        mut command,
        answer,
    } in inbox
    {
        // A caller that went away leaves a child that nobody waits for: end it.
        if let Err(lost) = answer.send(start(&mut command))
            && let Ok(mut child) = lost.0
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the parent-death signal can only be set between fork and exec"
)]
fn start(command: &mut Command) -> io::Result<Child> {
    use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt;

    let parent: Pid = getpid();
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The
    // closure makes two system calls, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have ended before the signal was asked for.
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::Error::from(io::ErrorKind::BrokenPipe))
            }
        });
    }
    // A group of its own: Ctrl-C reaches the one who knows how to clean up.
    command.process_group(0).spawn()
}

#[cfg(not(target_os = "linux"))]
fn start(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}
