//! The stores of reflectors, and the streams of owned objects for the controller.

use anyhow::{Result, anyhow};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::task::JoinSet;

/// What a reconcile reads.
pub(super) struct Stores {
    deployments: Store<Deployment>,
    services: Store<Service>,
    pods: Store<Pod>,
    /// End with it.
    _reflectors: JoinSet<()>,
}

/// What makes AppServices due.
pub(super) struct Owned {
    pub(super) deployments: UnboundedReceiver<Result<Deployment, watcher::Error>>,
    pub(super) services: UnboundedReceiver<Result<Service, watcher::Error>>,
    pub(super) held: Arc<Held>,
}

/// Changed Deployments that the controller is not told of yet.
pub(super) struct Held {
    waiting: Mutex<Vec<Deployment>>,
    out: UnboundedSender<Result<Deployment, watcher::Error>>,
}

impl Held {
    fn push(&self, deployment: Deployment) -> Result<()> {
        self.waiting()?.push(deployment);
        Ok(())
    }

    fn waiting(&self) -> Result<MutexGuard<'_, Vec<Deployment>>> {
        self.waiting
            .lock()
            .map_err(|_| anyhow!("a reflector panicked"))
    }

    pub(super) fn count(&self) -> Result<u64> {
        Ok(u64::try_from(self.waiting()?.len())?)
    }

    /// Tells the controller.
    pub(super) fn release(&self) -> Result<()> {
        let waiting = std::mem::take(&mut *self.waiting()?);
        for deployment in waiting {
            self.out.unbounded_send(Ok(deployment))?;
        }
        Ok(())
    }
}

/// Starts the reflectors and waits until their stores are filled.
pub(super) async fn fill(client: &Client) -> Result<(Stores, Owned)> {
    let mut reflectors = JoinSet::new();
    let (out, deployments) = unbounded();
    let held = Arc::new(Held {
        waiting: Mutex::default(),
        out,
    });
    let holding = Arc::clone(&held);
    let (out, services) = unbounded();
    let stores = Stores {
        deployments: reflected(&mut reflectors, client, move |object| holding.push(object)),
        services: reflected(&mut reflectors, client, move |object| {
            Ok(out.unbounded_send(Ok(object))?)
        }),
        pods: reflected(&mut reflectors, client, |_| Ok(())),
        _reflectors: reflectors,
    };
    stores.deployments.wait_until_ready().await?;
    stores.services.wait_until_ready().await?;
    stores.pods.wait_until_ready().await?;
    let owned = Owned {
        deployments,
        services,
        held,
    };
    Ok((stores, owned))
}

/// A store, and a reflector that fills it and says what changed afterwards.
fn reflected<K>(
    reflectors: &mut JoinSet<()>,
    client: &Client,
    changed: impl Fn(K) -> Result<()> + Send + 'static,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let objects = watcher(Api::<K>::all(client.clone()), Config::default());
    let events = reflector(writer, objects).default_backoff();
    reflectors.spawn(events.for_each(move |event| {
        let told = match event {
            Ok(Event::Apply(object)) => changed(object),
            // What the list has is due with its AppService.
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = told {
            eprintln!("kube-rs: {error:#}");
        }
        std::future::ready(())
    }));
    reader
}

impl Stores {
    pub(super) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        self.deployments
            .get(&ObjectRef::new(name).within(namespace))
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.get(&ObjectRef::new(name).within(namespace))
    }

    /// The pods of an AppService by phase. A store has no index but its key: all are looked at.
    pub(super) fn phases(&self, namespace: &str, name: &str) -> BTreeMap<String, usize> {
        let pods = self.pods.state_filter(|pod| {
            let labels = pod.metadata.labels.as_ref();
            pod.metadata.namespace.as_deref() == Some(namespace)
                && labels
                    .and_then(|labels| labels.get("app"))
                    .is_some_and(|app| app == name)
        });
        let mut phases = BTreeMap::new();
        for pod in pods {
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            *phases.entry(phase.unwrap_or_default()).or_default() += 1;
        }
        phases
    }
}
