//! A Pod's container as a process that can be killed and frozen.

use crate::node::Node;
use anyhow::{Context, Result};
use serde_json::Value;

/// The first container of a Pod as it ran when it was found.
#[derive(Debug)]
pub struct Container<'a> {
    node: &'a Node,
    /// Its first process, as the node numbers it.
    pid: u32,
}

impl<'a> Container<'a> {
    /// The running process of `pod`'s first container.
    ///
    /// # Errors
    /// The Pod has no running container.
    pub fn of(node: &'a Node, pod: &Value) -> Result<Self> {
        let id = pod
            .pointer("/status/containerStatuses/0/containerID")
            .and_then(Value::as_str)
            .and_then(|id| id.strip_prefix("containerd://"))
            .context("the Pod has no container")?;
        let list = node.containerd(&["task", "ls"])?;
        let pid = list.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(id)).then(|| words.next()?.parse().ok())?
        });
        let pid = pid.with_context(|| format!("container {id} does not run:\n{list}"))?;
        Ok(Self { node, pid })
    }

    /// Ends it with SIGKILL, as the kernel does.
    ///
    /// # Errors
    /// It has ended already.
    pub fn kill(&self) -> Result<()> {
        self.signal("KILL")
    }

    /// Freezes it with SIGSTOP.
    ///
    /// # Errors
    /// It has ended already.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on with SIGCONT.
    ///
    /// # Errors
    /// It has ended meanwhile.
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// The letter of its state in /proc, such as `S` (sleeps) or `T` (stopped); None once it is gone.
    #[must_use]
    pub fn state(&self) -> Option<char> {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = self.node.shell(&["cat", &path]).ok()?;
        // The name before it may hold anything, brackets too.
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid.to_string();
        self.node
            .shell(&["kill", "-s", name, "--", &pid])
            .map(|_| ())
    }
}
