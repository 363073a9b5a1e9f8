//! The operators that faults happen around.

use super::world::Objects;
use super::{microservice, steps};
use crate::declarative::registration;
use crate::scene::{Language, Scene, folder};
use anyhow::Result;
use serde_json::{Value, json};

/// A custom resource, or a child of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    /// Its name is the CR's with this behind it.
    pub(crate) suffix: &'static str,
}

/// The plural that [`Objects`] has records under, each by its CR's name: what it is called follows
/// from the CR's uid.
pub(crate) const RECORDS: &str = "records";

impl Kind {
    pub(crate) const fn new(
        version: &'static str,
        kind: &'static str,
        group: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            version,
            kind,
            group,
            plural,
            suffix: "",
        }
    }

    pub(crate) const fn behind(mut self, suffix: &'static str) -> Self {
        self.suffix = suffix;
        self
    }

    /// Group and plural.
    pub(crate) fn resource(&self) -> (&'static str, &'static str) {
        (self.group, self.plural)
    }

    /// Where [`Objects`] has the one of this CR.
    pub(crate) fn key(&self, name: &str) -> (String, String) {
        (self.plural.to_owned(), format!("{name}{}", self.suffix))
    }
}

/// One thing that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The CR is created.
    Create,
    /// It grows: its spec says so, or an autoscaler.
    Grow,
    /// What is optional goes, and children with it.
    Close,
    /// It is back.
    Open,
    /// Somebody changes the Deployment.
    Drift,
    /// Somebody deletes the Service.
    Loss,
}

pub(crate) const STEPS: [Step; 6] = [
    Step::Create,
    Step::Grow,
    Step::Close,
    Step::Open,
    Step::Drift,
    Step::Loss,
];

/// The operator that faults happen around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// AppService.
    AppService(Language),
    /// plugins/bundles/microservicedeploy: eight kinds of children, and a record.
    MicroService,
}

impl Operator {
    pub(crate) fn registration(self, scene: &Scene) -> Result<Value> {
        match self {
            Self::AppService(language) => scene.appservice_in(language),
            Self::MicroService => {
                let bundle = folder("plugins/bundles/microservicedeploy");
                let mut registration = registration(scene, &bundle)?;
                let settings = &mut registration["spec"]["settings"];
                settings["authSeed"] = json!("0123456789abcdef");
                Ok(registration)
            }
        }
    }

    /// That of its CR first, then those of children.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::AppService(_) => &steps::KINDS,
            Self::MicroService => &microservice::KINDS,
        }
    }

    /// Group and plural of its CR, of Deployments and of Services: whose watches are disturbed.
    pub(crate) fn disturbed(self) -> [(&'static str, &'static str); 3] {
        [
            self.kinds()[0].resource(),
            ("apps", "deployments"),
            ("", "services"),
        ]
    }

    pub(crate) fn make(self, step: Step, scene: &Scene, name: &str) -> Result<()> {
        match self {
            Self::AppService(_) => steps::make(step, scene, name),
            Self::MicroService => microservice::make(step, scene, name),
        }
    }

    /// Whether a step changes objects of this plural, by whomever; of those that are disturbed.
    pub(crate) fn changes(self, step: Step, plural: &str) -> bool {
        match self {
            Self::AppService(_) => steps::changes(step, plural),
            Self::MicroService => microservice::changes(step, plural),
        }
    }

    /// What a CR and its children lack after a step.
    pub(crate) fn missing(self, objects: &Objects, name: &str, step: Step) -> Option<String> {
        match self {
            Self::AppService(_) => steps::missing(objects, name),
            Self::MicroService => microservice::missing(objects, name, step),
        }
    }
}
