//! Pods of Deployments: what a kubelet and the controllers leave behind.

use std::fmt::Write;

use crate::dice::{dice, digest, suffix, uuid};

/// Pods of one ReplicaSet.
pub(crate) const REPLICAS: u64 = 8;
/// Namespaces and nodes.
const NAMESPACES: u64 = 50;
const NODES: u64 = 2_000;

/// A cluster's pods, by number.
#[derive(Clone, Copy, Debug)]
pub struct Pods {
    seed: u64,
    containers: u64,
}

impl Pods {
    /// Pods with one container: about 5.3 KB of JSON each, 3.4 KB without
    /// managedFields.
    pub fn new(seed: u64) -> Pods {
        Pods {
            seed,
            containers: 1,
        }
    }

    /// The same with so many containers; two make about 7.1 KB, as those of
    /// the baselines of other operators.
    #[must_use]
    pub fn with_containers(self, containers: u64) -> Pods {
        Pods { containers, ..self }
    }

    /// The name of a pod.
    pub fn name(&self, number: u64) -> String {
        let app = App::of(self.seed, number);
        format!("{}-{}-{}", app.name, app.hash, suffix(self.dice(number, 1)))
    }

    /// The namespace of a pod.
    pub fn namespace(&self, number: u64) -> String {
        App::of(self.seed, number).namespace
    }

    /// The uid of a pod.
    pub fn uid(&self, number: u64) -> String {
        uuid(&[self.seed, number, 2])
    }

    /// The JSON of pod `number` after `updates` updates of its status. The
    /// resourceVersion ascends with `updates * 2^32 + number`.
    pub fn pod(&self, number: u64, updates: u64) -> String {
        let app = App::of(self.seed, number);
        let name = self.name(number);
        let mut out = String::with_capacity(4_600 * usize::try_from(self.containers).unwrap_or(1));
        out.push_str(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"#);
        self.metadata(&mut out, &app, &name, number, updates);
        out.push_str(r#"},"spec":{"#);
        self.spec(&mut out, &app, number);
        out.push_str(r#"},"status":{"#);
        self.status(&mut out, &app, number, updates);
        out.push_str("}}");
        out
    }

    fn dice(&self, number: u64, what: u64) -> u64 {
        dice(&[self.seed, number, what])
    }

    fn started(&self, number: u64) -> u64 {
        self.dice(number / REPLICAS, 9) % 2_000_000
    }

    fn metadata(&self, out: &mut String, app: &App, name: &str, number: u64, updates: u64) {
        let generate = name.get(..name.len() - 5).unwrap_or_default();
        let version = (updates << 32) + number + 1;
        put(
            out,
            format_args!(
                r#""name":"{name}","generateName":"{generate}","namespace":"{}","uid":"{}","resourceVersion":"{version}","generation":1,"creationTimestamp":"{}","labels":{{"app":"{}","app.kubernetes.io/instance":"{}-{}","app.kubernetes.io/name":"{}","app.kubernetes.io/version":"1.{}.{}","pod-template-hash":"{}"}},"annotations":{{"checksum/config":"{}","prometheus.io/port":"{}","prometheus.io/scrape":"true"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"{}-{}","uid":"{}","controller":true,"blockOwnerDeletion":true}}]"#,
                app.namespace,
                self.uid(number),
                time(self.started(number)),
                app.name,
                app.name,
                app.namespace,
                app.name,
                app.release % 30,
                app.release % 7,
                app.hash,
                digest(&[app.release, 3]),
                app.port,
                app.name,
                app.hash,
                app.owner,
            ),
        );
        put(
            out,
            format_args!(
                r#","managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"{}","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:annotations":{{".":{{}},"f:checksum/config":{{}},"f:prometheus.io/port":{{}},"f:prometheus.io/scrape":{{}}}},"f:generateName":{{}},"f:labels":{{".":{{}},"f:app":{{}},"f:app.kubernetes.io/instance":{{}},"f:app.kubernetes.io/name":{{}},"f:app.kubernetes.io/version":{{}},"f:pod-template-hash":{{}}}},"f:ownerReferences":{{".":{{}},"k:{{\"uid\":\"{}\"}}":{{}}}}}},"f:spec":{{"f:containers":{{"#,
                time(self.started(number)),
                app.owner,
            ),
        );
        for container in 0..self.containers {
            let comma = if container > 0 { "," } else { "" };
            put(
                out,
                format_args!(
                    r#"{comma}"k:{{\"name\":\"{}\"}}":{{".":{{}},"f:env":{{".":{{}},"k:{{\"name\":\"POD_IP\"}}":{{".":{{}},"f:name":{{}},"f:valueFrom":{{".":{{}},"f:fieldRef":{{}}}}}}}},"f:image":{{}},"f:imagePullPolicy":{{}},"f:livenessProbe":{{".":{{}},"f:httpGet":{{".":{{}},"f:path":{{}},"f:port":{{}},"f:scheme":{{}}}}}},"f:name":{{}},"f:ports":{{".":{{}},"k:{{\"containerPort\":{},\"protocol\":\"TCP\"}}":{{".":{{}},"f:containerPort":{{}}}}}},"f:resources":{{".":{{}},"f:limits":{{".":{{}},"f:memory":{{}}}},"f:requests":{{".":{{}},"f:cpu":{{}},"f:memory":{{}}}}}}}}"#,
                    app.container(container),
                    app.port,
                ),
            );
        }
        put(
            out,
            format_args!(
                r#"}},"f:restartPolicy":{{}},"f:schedulerName":{{}},"f:terminationGracePeriodSeconds":{{}}}}}}}},{{"manager":"kubelet","operation":"Update","apiVersion":"v1","time":"{}","fieldsType":"FieldsV1","fieldsV1":{{"f:status":{{"f:conditions":{{"k:{{\"type\":\"ContainersReady\"}}":{{".":{{}},"f:lastTransitionTime":{{}},"f:status":{{}},"f:type":{{}}}},"k:{{\"type\":\"Ready\"}}":{{".":{{}},"f:lastTransitionTime":{{}},"f:status":{{}},"f:type":{{}}}}}},"f:containerStatuses":{{}},"f:hostIP":{{}},"f:phase":{{}},"f:podIP":{{}},"f:startTime":{{}}}}}},"subresource":"status"}}]"#,
                time(self.started(number) + 7 + updates * 61),
            ),
        );
    }

    fn spec(&self, out: &mut String, app: &App, number: u64) {
        let volume = suffix(self.dice(number, 4));
        put(
            out,
            format_args!(
                r#""volumes":[{{"name":"config","configMap":{{"name":"{}-config","defaultMode":420}}}},{{"name":"kube-api-access-{volume}","projected":{{"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,"path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}},{{"downwardAPI":{{"items":[{{"path":"namespace","fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.namespace"}}}}]}}}}],"defaultMode":420}}}}],"containers":["#,
                app.name,
            ),
        );
        for container in 0..self.containers {
            let comma = if container > 0 { "," } else { "" };
            put(
                out,
                format_args!(
                    r#"{comma}{{"name":"{}","image":"{}","ports":[{{"name":"http","containerPort":{},"protocol":"TCP"}}],"env":[{{"name":"POD_IP","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"status.podIP"}}}}}},{{"name":"LOG_LEVEL","value":"info"}},{{"name":"RELEASE","value":"r{}"}}],"resources":{{"limits":{{"memory":"{}Mi"}},"requests":{{"cpu":"{}m","memory":"{}Mi"}}}},"volumeMounts":[{{"name":"config","mountPath":"/etc/{}"}},{{"name":"kube-api-access-{volume}","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"livenessProbe":{{"httpGet":{{"path":"/healthz","port":{},"scheme":"HTTP"}},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}"#,
                    app.container(container),
                    app.image(container),
                    app.port,
                    app.release,
                    app.memory * 2,
                    app.cpu,
                    app.memory,
                    app.name,
                    app.port,
                ),
            );
        }
        put(
            out,
            format_args!(
                r#"],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"{}","serviceAccount":"{}","nodeName":"{}","securityContext":{{}},"schedulerName":"default-scheduler","tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}},{{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority""#,
                app.name,
                app.name,
                node(self.dice(number, 5) % NODES),
            ),
        );
    }

    fn status(&self, out: &mut String, app: &App, number: u64, updates: u64) {
        let started = self.started(number);
        let chance = self.dice(number, 6 + (updates << 8)) % 100;
        let phase = match chance {
            0 => "Failed",
            1..=2 => "Pending",
            _ => "Running",
        };
        let ready = if chance > 4 { "True" } else { "False" };
        let changed = started + 7 + updates * 61;
        put(out, format_args!(r#""phase":"{phase}","conditions":["#));
        for (kind, status, after) in [
            ("PodReadyToStartContainers", "True", started + 2),
            ("Initialized", "True", started),
            ("Ready", ready, changed),
            ("ContainersReady", ready, changed),
            ("PodScheduled", "True", started),
        ] {
            let comma = if kind.starts_with("PodReady") {
                ""
            } else {
                ","
            };
            put(
                out,
                format_args!(
                    r#"{comma}{{"type":"{kind}","status":"{status}","lastProbeTime":null,"lastTransitionTime":"{}"}}"#,
                    time(after),
                ),
            );
        }
        let host = self.dice(number, 5) % NODES;
        let ip = self.dice(number, 7);
        let ip = format!("10.{}.{}.{}", ip % 250, ip >> 8 & 0xff, ip >> 16 & 0xff);
        put(
            out,
            format_args!(
                r#"],"hostIP":"172.16.{0}.{1}","hostIPs":[{{"ip":"172.16.{0}.{1}"}}],"podIP":"{ip}","podIPs":[{{"ip":"{ip}"}}],"startTime":"{2}","containerStatuses":["#,
                host >> 8,
                host & 0xff,
                time(started),
            ),
        );
        for container in 0..self.containers {
            let comma = if container > 0 { "," } else { "" };
            let restarts = if chance > 92 {
                updates + chance - 92
            } else {
                0
            };
            put(
                out,
                format_args!(
                    r#"{comma}{{"name":"{}","state":{{"running":{{"startedAt":"{}"}}}},"lastState":{{}},"ready":{},"restartCount":{restarts},"image":"{}","imageID":"{}","containerID":"containerd://{}","started":true}}"#,
                    app.container(container),
                    time(changed - 3),
                    ready == "True",
                    app.image(container),
                    app.image_id(container),
                    digest(&[self.seed, number, container, 8]),
                ),
            );
        }
        out.push_str(r#"],"qosClass":"Burstable""#);
    }
}

/// What the pods of one ReplicaSet share.
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) namespace: String,
    hash: String,
    owner: String,
    pub(crate) release: u64,
    pub(crate) port: u64,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
}

impl App {
    pub(crate) fn of(seed: u64, pod: u64) -> App {
        const WORDS: [&str; 12] = [
            "web", "cart", "search", "billing", "auth", "mail", "media", "orders", "stock",
            "report", "gateway", "ledger",
        ];
        let set = dice(&[seed, pod / REPLICAS, 10]);
        let word = usize::try_from(set % 12).unwrap_or(0);
        let release = set >> 8 & 0xff;
        App {
            name: format!(
                "{}-{}",
                WORDS.get(word).copied().unwrap_or("web"),
                set >> 16 & 0x3f
            ),
            namespace: format!("team-{:02}", dice(&[set, 1]) % NAMESPACES),
            hash: format!("{:x}{}", set >> 44, suffix(set >> 3)),
            owner: uuid(&[set, 2]),
            release,
            port: 8_000 + set % 12,
            cpu: 50 * (1 + (set >> 24) % 8),
            memory: 64 << ((set >> 28) % 4),
        }
    }

    fn container(&self, number: u64) -> String {
        match number {
            0 => self.name.clone(),
            1 => "proxy".to_owned(),
            more => format!("sidecar-{more}"),
        }
    }

    /// The uid of the Deployment: one for each namespace and name.
    pub(crate) fn deployment(&self) -> String {
        let bytes = self.namespace.bytes().chain(self.name.bytes());
        uuid(&[
            30,
            bytes.fold(0, |mixed, byte| dice(&[mixed, u64::from(byte)])),
        ])
    }

    pub(crate) fn image(&self, number: u64) -> String {
        match number {
            0 => format!(
                "images.internal/shop/{}:1.{}.{}",
                self.name,
                self.release % 30,
                self.release % 7
            ),
            more => format!("images.internal/mesh/proxy:2.{more}"),
        }
    }

    fn image_id(&self, number: u64) -> String {
        let of = if number == 0 { self.release } else { 1 << 20 };
        format!(
            "images.internal/shop/{}@sha256:{}",
            self.name,
            digest(&[of, number])
        )
    }
}

pub(crate) fn node(number: u64) -> String {
    format!("node-{number:04}")
}

/// So many seconds after the first of November 2026, in RFC 3339.
pub(crate) fn time(seconds: u64) -> String {
    let (day, of_day) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!(
        "2026-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        10 + day / 28 % 3,
        1 + day % 28
    )
}

pub(crate) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    #[test]
    fn pods_are_objects_of_their_own() {
        let pods = Pods::new(1);
        let mut seen = HashSet::new();
        for number in 0..2_000 {
            let pod: Value = serde_json::from_str(&pods.pod(number, number % 3)).unwrap();
            let text = |pointer: &str| pod.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            assert_eq!(text("/metadata/name"), pods.name(number));
            assert_eq!(text("/metadata/namespace"), pods.namespace(number));
            assert_eq!(text("/metadata/uid"), pods.uid(number));
            assert!(seen.insert(pods.uid(number)));
            assert!(seen.insert(format!("{}/{}", pods.namespace(number), pods.name(number))));
        }
    }

    #[test]
    fn sizes_are_as_stated() {
        for (containers, from, to) in [(1, 5_000, 5_700), (2, 6_800, 7_600)] {
            let pods = Pods::new(1).with_containers(containers);
            let size = (0..100)
                .map(|number| pods.pod(number, 0).len())
                .sum::<usize>()
                / 100;
            assert!((from..to).contains(&size), "{containers}: {size}");
        }
    }

    #[test]
    fn versions_ascend() {
        let pods = Pods::new(1);
        let version = |updates| {
            let pod: Value = serde_json::from_str(&pods.pod(5, updates)).unwrap();
            let version = pod["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse::<u64>();
            version.unwrap()
        };
        assert!(version(0) < version(1) && version(1) < version(2));
    }
}
