//! Whether the children are as an AppService wants them: what is ours, field by field. What an API
//! server fills in beside it is left alone.

use crate::appservice::AppService;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, ContainerPort, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use kube::core::ObjectMeta;
use std::collections::BTreeMap;

pub(super) fn is_deployment(deployment: &Deployment, app: &AppService, name: &str) -> bool {
    let Some(spec) = &deployment.spec else {
        return false;
    };
    let template = &spec.template;
    let pod_labels = template.metadata.as_ref().and_then(|of| of.labels.as_ref());
    let containers = template.spec.as_ref().map(|spec| &*spec.containers);
    is_child(&deployment.metadata, app, name)
        && spec.replicas == Some(app.spec.size)
        && is_label(spec.selector.match_labels.as_ref(), name)
        && is_label(pod_labels, name)
        && matches!(containers, Some([container]) if is_container(container, app))
}

pub(super) fn is_service(service: &Service, app: &AppService, name: &str) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    is_child(&service.metadata, app, name)
        && spec.type_.as_deref() == Some("ClusterIP")
        && is_label(spec.selector.as_ref(), name)
        && ports.len() == app.spec.ports.len()
        && ports
            .iter()
            .zip(&app.spec.ports)
            .all(|(port, wanted)| is_service_port(port, wanted.port, wanted.target_port))
}

/// It has our label, and the AppService is its controller.
fn is_child(metadata: &ObjectMeta, app: &AppService, name: &str) -> bool {
    let labels = metadata.labels.as_ref();
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let is_owner = |owner: &OwnerReference, wanted: &OwnerReference| {
        owner.uid == wanted.uid
            && owner.name == wanted.name
            && owner.kind == wanted.kind
            && owner.api_version == wanted.api_version
            && owner.controller == wanted.controller
    };
    labels
        .and_then(|labels| labels.get("app"))
        .is_some_and(|label| label == name)
        && app
            .controller_owner_ref(&())
            .is_some_and(|wanted| owners.iter().any(|owner| is_owner(owner, &wanted)))
}

/// Our label and no other.
fn is_label(labels: Option<&BTreeMap<String, String>>, name: &str) -> bool {
    labels.is_some_and(|labels| {
        labels.len() == 1 && labels.get("app").is_some_and(|label| label == name)
    })
}

fn is_container(container: &Container, app: &AppService) -> bool {
    let ports = container.ports.as_deref().unwrap_or_default();
    let is_port = |port: &ContainerPort, wanted: i32| {
        port.container_port == wanted && port.protocol.as_deref() == Some("TCP")
    };
    container.name == "app"
        && container.image.as_ref() == Some(&app.spec.image)
        && ports.len() == app.spec.ports.len()
        && ports
            .iter()
            .zip(&app.spec.ports)
            .all(|(port, wanted)| is_port(port, wanted.target_port))
}

fn is_service_port(is: &ServicePort, port: i32, target: i32) -> bool {
    is.port == port
        && is.name.as_deref() == Some(&*format!("port-{port}"))
        && is.target_port == Some(IntOrString::Int(target))
        && is.protocol.as_deref() == Some("TCP")
}
