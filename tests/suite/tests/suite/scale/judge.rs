//! What must be there at the end, and how many writes that may have taken.

use crate::faults::steps::{KINDS, missing};
use crate::faults::world::Objects;
use crate::scene::Scene;
use anyhow::{Context, Result, ensure};
use kybern_testcluster::Request;
use std::collections::BTreeMap;

/// Writes by what they do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    creates: usize,
    /// Update entries made Apply entries, before a child's first apply.
    conversions: usize,
    applies: usize,
    statuses: usize,
    events: usize,
    /// Anything else: there is nothing else to do.
    others: usize,
    /// Refused, or without an answer.
    pub(super) refused: usize,
}

impl Tally {
    pub(super) fn add(&mut self, write: &Request) {
        *self.place(write) += 1;
    }

    /// Whether it was refused, or nobody knows what became of it.
    pub(super) fn refuses(write: &Request) -> bool {
        !write.code.is_some_and(|code| (200..300).contains(&code))
    }

    fn place(&mut self, write: &Request) -> &mut usize {
        let status = write.subresource.as_deref() == Some("status");
        match write.verb.as_str() {
            _ if write.resource == "events" => &mut self.events,
            _ if Self::refuses(write) => &mut self.refused,
            "patch" if status => &mut self.statuses,
            "patch" if write.uri.contains("force=true") => &mut self.applies,
            "patch" => &mut self.conversions,
            "create" => &mut self.creates,
            _ => &mut self.others,
        }
    }

    /// Those that a plan asks for.
    pub(super) fn of_plan(&self) -> usize {
        self.creates + self.conversions + self.applies + self.statuses + self.others
    }

    pub(super) fn all(&self) -> usize {
        self.of_plan() + self.events + self.refused
    }
}

/// All custom resources and children.
pub(super) fn objects(scene: &Scene) -> Result<Objects> {
    crate::faults::world::objects(scene, &KINDS)
}

/// What is not as its CR wants it, if anything is.
pub(super) fn wrong(objects: &Objects, n: usize) -> Option<String> {
    if objects.len() != 3 * n {
        return Some(format!("{} objects instead of {}", objects.len(), 3 * n));
    }
    (0..n).find_map(|number| {
        let name = super::crowd::name(number);
        Some(format!("{name}: {}", missing(objects, &name)?))
    })
}

/// Whether these writes, all of a life, were needed for what is there now. A write that the API
/// server refused or did not answer in time is said in the status, and that it is over is too.
pub(super) fn writes<'r>(
    writes: impl Iterator<Item = &'r Request>,
    objects: &Objects,
    n: usize,
) -> Result<()> {
    let mut of: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for write in writes {
        // A create names nobody; it is counted for all.
        let name = write.name.as_deref().unwrap_or_default();
        of.entry((&write.resource, name)).or_default().add(write);
    }
    for plural in ["deployments", "services"] {
        let creates = of.get(&(plural, "")).map_or(0, |tally| tally.creates);
        ensure!(creates == n, "{creates} {plural} created, not {n}");
    }
    let mut needless = Vec::new();
    for number in 0..n {
        let name = super::crowd::name(number);
        let found = excess(&of, objects, &name).with_context(|| name.clone())?;
        needless.extend(found.map(|what| format!("{name}: {what}")));
    }
    let refused: usize = of.values().map(|tally| tally.refused).sum();
    let few = needless.len() <= 2 * refused;
    ensure!(few, "{refused} were refused: {}", needless.join("\n"));
    println!(
        "scale: {refused} writes refused, {} more than once",
        needless.len()
    );
    Ok(())
}

/// A child is applied at most once for each change, and never as it was; the status says each once.
/// What is more than that.
fn excess(
    of: &BTreeMap<(&str, &str), Tally>,
    objects: &Objects,
    name: &str,
) -> Result<Option<String>> {
    let changes = |plural: &str| -> Result<usize> {
        let object = objects.get(&(plural.to_owned(), name.to_owned()));
        let generation = object.and_then(|o| o["metadata"]["generation"].as_u64());
        Ok(usize::try_from(generation.context("a generation")?)? - 1)
    };
    let tally = |plural: &str| of.get(&(plural, name)).copied().unwrap_or_default();
    let wanted = changes("appservices")?;
    let [status, deployment, service] = ["appservices", "deployments", "services"].map(tally);
    let changed = changes("deployments")?;
    let child = |child: Tally, most: usize| {
        child.applies <= most && child.conversions <= 1 && child.others == 0
    };
    let is = changed <= wanted
        && child(deployment, changed)
        && child(service, wanted)
        && status.statuses <= 1 + wanted
        && status.of_plan() == status.statuses;
    let what = format!(
        "{wanted} changes: {changed} of the Deployment, {deployment:?}; {service:?}; {status:?}"
    );
    Ok((!is).then_some(what))
}

/// What a process has used, for people.
pub(super) fn usage(id: u32) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
    let memory = |key: &str| line(key).unwrap_or_default().trim().to_owned();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // Behind the name: the 12th and 13th are ticks of its own code and of the kernel for it, 100 a second.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<std::result::Result<_, _>>()?;
    Ok(format!(
        "{} s of processor time since its start, {} resident, {} at most",
        ticks / 100,
        memory("VmRSS:"),
        memory("VmHWM:")
    ))
}
