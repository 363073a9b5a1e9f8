//! Deployments: what the pods' ReplicaSets belong to.

use crate::pod::{App, REPLICAS, put, time};

/// A cluster's Deployments, by the number of the ReplicaSet that its pods are of.
///
/// Pod `number` belongs to Deployment `number / 8`. Two numbers may be one Deployment in the
/// middle of a rollout: the same namespace, name and uid.
#[derive(Clone, Copy, Debug)]
pub struct Deployments {
    seed: u64,
}

impl Deployments {
    /// Those of [`crate::Pods`] of the same seed.
    pub fn new(seed: u64) -> Deployments {
        Deployments { seed }
    }

    /// The name of a Deployment.
    pub fn name(&self, number: u64) -> String {
        self.app(number).name
    }

    /// The namespace of a Deployment.
    pub fn namespace(&self, number: u64) -> String {
        self.app(number).namespace
    }

    fn app(&self, number: u64) -> App {
        App::of(self.seed, number * REPLICAS)
    }

    /// The JSON of a Deployment, about 2.4 KB.
    pub fn deployment(&self, number: u64) -> String {
        let app = self.app(number);
        let mut out = String::with_capacity(3_000);
        put(
            &mut out,
            format_args!(
                r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}","namespace":"{namespace}","uid":"{uid}","resourceVersion":"{version}","generation":{generation},"creationTimestamp":"{created}","labels":{{"app":"{name}","app.kubernetes.io/instance":"{name}-{namespace}","app.kubernetes.io/name":"{name}","app.kubernetes.io/managed-by":"Helm"}},"annotations":{{"deployment.kubernetes.io/revision":"{generation}","meta.helm.sh/release-name":"{name}","meta.helm.sh/release-namespace":"{namespace}"}},"managedFields":[{{"manager":"helm","operation":"Update","apiVersion":"apps/v1","time":"{created}","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:meta.helm.sh/release-name":{{}},"f:meta.helm.sh/release-namespace":{{}}}},"f:labels":{{".":{{}},"f:app":{{}},"f:app.kubernetes.io/instance":{{}},"f:app.kubernetes.io/managed-by":{{}},"f:app.kubernetes.io/name":{{}}}}}},"f:spec":{{"f:progressDeadlineSeconds":{{}},"f:replicas":{{}},"f:revisionHistoryLimit":{{}},"f:selector":{{}},"f:strategy":{{"f:type":{{}}}},"f:template":{{}}}}}}}}]}},"#,
                name = app.name,
                namespace = app.namespace,
                uid = app.deployment(),
                version = number + 1,
                generation = 1 + app.release % 9,
                created = time(app.release * 3_600),
            ),
        );
        let ready = if app.release.is_multiple_of(20) {
            REPLICAS - 1
        } else {
            REPLICAS
        };
        put(
            &mut out,
            format_args!(
                r#""spec":{{"replicas":{REPLICAS},"selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"creationTimestamp":null,"labels":{{"app":"{name}","app.kubernetes.io/name":"{name}"}}}},"spec":{{"containers":[{{"name":"{name}","image":"{image}","ports":[{{"name":"http","containerPort":{port},"protocol":"TCP"}}],"resources":{{"limits":{{"memory":"{limit}Mi"}},"requests":{{"cpu":"{cpu}m","memory":"{memory}Mi"}}}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"{name}","securityContext":{{}},"schedulerName":"default-scheduler"}}}},"strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxUnavailable":"25%","maxSurge":"25%"}}}},"revisionHistoryLimit":10,"progressDeadlineSeconds":600}},"status":{{"observedGeneration":{generation},"replicas":{REPLICAS},"updatedReplicas":{REPLICAS},"readyReplicas":{ready},"availableReplicas":{ready},"conditions":[{{"type":"Available","status":"True","lastUpdateTime":"{changed}","lastTransitionTime":"{changed}","reason":"MinimumReplicasAvailable","message":"Deployment has minimum availability."}}]}}}}"#,
                name = app.name,
                image = app.image(0),
                port = app.port,
                limit = app.memory * 2,
                cpu = app.cpu,
                memory = app.memory,
                generation = 1 + app.release % 9,
                changed = time(app.release * 3_600 + 40),
            ),
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashMap;

    #[test]
    fn pods_find_their_deployment_and_one_name_has_one_uid() {
        let (pods, all) = (crate::Pods::new(1), Deployments::new(1));
        let mut uids = HashMap::new();
        for number in 0..2_000 {
            let text = all.deployment(number);
            assert!((1_900..3_000).contains(&text.len()), "{}", text.len());
            let object: Value = serde_json::from_str(&text).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
            assert_eq!(
                (&name, &namespace),
                (&all.name(number), &all.namespace(number))
            );
            let pod: Value = serde_json::from_str(&pods.pod(number * REPLICAS + 3, 0)).unwrap();
            assert_eq!(pod["metadata"]["namespace"], namespace.as_str());
            assert_eq!(pod["metadata"]["labels"]["app"], name.as_str());
            let uid = object["metadata"]["uid"].clone();
            let before = uids.insert((namespace, name), uid.clone());
            assert!(before.is_none_or(|before| before == uid));
        }
        assert!(uids.len() > 1_900);
    }
}
