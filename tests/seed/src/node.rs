//! Nodes: what pods run on.

use crate::dice::{dice, uuid};
use crate::pod::{node, put, time};

/// A cluster's nodes, by number. Pods run on the first 2,000.
#[derive(Clone, Copy, Debug)]
pub struct Nodes {
    seed: u64,
}

impl Nodes {
    /// Nodes of this seed.
    pub fn new(seed: u64) -> Nodes {
        Nodes { seed }
    }

    /// The name of a node.
    pub fn name(&self, number: u64) -> String {
        node(number)
    }

    /// The JSON of a node, about 2.6 KB. One of a hundred is not ready.
    pub fn node(&self, number: u64) -> String {
        let chance = dice(&[self.seed, number, 20]);
        let cores = 4 << (chance >> 8 & 3);
        let joined = (chance >> 16) % 1_000_000;
        let mut out = String::with_capacity(3_000);
        put(
            &mut out,
            format_args!(
                r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","uid":"{uid}","resourceVersion":"{version}","creationTimestamp":"{joined}","labels":{{"beta.kubernetes.io/arch":"amd64","beta.kubernetes.io/os":"linux","kubernetes.io/arch":"amd64","kubernetes.io/hostname":"{name}","kubernetes.io/os":"linux","node.kubernetes.io/instance-type":"m{cores}.large","topology.kubernetes.io/region":"north","topology.kubernetes.io/zone":"north-{zone}"}},"annotations":{{"node.alpha.kubernetes.io/ttl":"0","volumes.kubernetes.io/controller-managed-attach-detach":"true"}}}},"spec":{{"podCIDR":"10.{a}.{b}.0/24","podCIDRs":["10.{a}.{b}.0/24"],"providerID":"cloud:///north-{zone}/{name}"}},"status":{{"capacity":{{"cpu":"{cores}","ephemeral-storage":"101430960Ki","memory":"{memory}Ki","pods":"110"}},"allocatable":{{"cpu":"{allocatable}m","ephemeral-storage":"93478772582","memory":"{free}Ki","pods":"110"}},"conditions":["#,
                name = node(number),
                uid = uuid(&[self.seed, number, 21]),
                version = number + 1,
                joined = time(joined),
                zone = number % 3,
                a = number >> 8 & 0xff,
                b = number & 0xff,
                memory = cores * 4_000_000,
                allocatable = cores * 1_000 - 80,
                free = cores * 4_000_000 - 600_000,
            ),
        );
        let ready = if chance.is_multiple_of(100) {
            "False"
        } else {
            "True"
        };
        for (kind, status, reason, message) in [
            (
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            (
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            (
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            (
                "Ready",
                ready,
                "KubeletReady",
                "kubelet is posting ready status",
            ),
        ] {
            let comma = if kind == "MemoryPressure" { "" } else { "," };
            put(
                &mut out,
                format_args!(
                    r#"{comma}{{"type":"{kind}","status":"{status}","lastHeartbeatTime":"{beat}","lastTransitionTime":"{since}","reason":"{reason}","message":"{message}"}}"#,
                    beat = time(2_000_000 + number % 300),
                    since = time(joined + 9),
                ),
            );
        }
        put(
            &mut out,
            format_args!(
                r#"],"addresses":[{{"type":"InternalIP","address":"172.16.{high}.{low}"}},{{"type":"Hostname","address":"{name}"}}],"daemonEndpoints":{{"kubeletEndpoint":{{"Port":10250}}}},"nodeInfo":{{"machineID":"{machine:032x}","systemUUID":"{system}","bootID":"{boot}","kernelVersion":"6.12.0","osImage":"Linux","containerRuntimeVersion":"containerd://2.1.4","kubeletVersion":"v1.36.3","kubeProxyVersion":"","operatingSystem":"linux","architecture":"amd64"}}}}}}"#,
                high = number >> 8,
                low = number & 0xff,
                name = node(number),
                machine = chance,
                system = uuid(&[self.seed, number, 22]),
                boot = uuid(&[self.seed, number, 23]),
            ),
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    #[test]
    fn nodes_are_objects_of_their_own_and_pods_run_on_them() {
        let nodes = Nodes::new(1);
        let mut names = HashSet::new();
        let mut unready = 0;
        for number in 0..5_000 {
            let text = nodes.node(number);
            assert!((2_000..3_000).contains(&text.len()), "{}", text.len());
            let object: Value = serde_json::from_str(&text).unwrap();
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            assert_eq!(name, nodes.name(number));
            assert!(names.insert(name));
            unready += usize::from(object["status"]["conditions"][3]["status"] == "False");
        }
        assert!((20..120).contains(&unready), "{unready}");
        for number in 0..1_000 {
            let pod: Value = serde_json::from_str(&crate::Pods::new(1).pod(number, 0)).unwrap();
            assert!(names.contains(pod["spec"]["nodeName"].as_str().unwrap()));
        }
    }
}
