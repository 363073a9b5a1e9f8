//! Children end with the process that started them, even when it is killed.

use kybern_testcluster::{Progress, spawn, until};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set in the process that plays the victim.
const VICTIM: &str = "KYBERN_TESTCLUSTER_VICTIM";

/// Whether a process with this id runs (a zombie does not).
pub(crate) fn runs(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

/// Plays the victim of the next test; as a test of its own it does nothing.
#[test]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    // Started from a thread that ends at once: the child must outlive the thread.
    let child = std::thread::spawn(|| {
        let mut command = Command::new("sleep");
        command.arg("600");
        spawn(command).unwrap().id()
    })
    .join()
    .unwrap();
    println!("child {child}");
    // Until it is killed.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_process_takes_its_children_along() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "children::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let child = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("child ")?.1.trim().parse::<u32>().ok())
        .unwrap();
    assert!(
        runs(child),
        "the child outlives the thread that asked for it"
    );

    victim.kill().unwrap();
    victim.wait().unwrap();
    until("the child ends", Duration::from_secs(10), || {
        Ok(match runs(child) {
            true => Progress::Waiting(format!("process {child} runs")),
            false => Progress::Done(()),
        })
    })
    .unwrap();
}
