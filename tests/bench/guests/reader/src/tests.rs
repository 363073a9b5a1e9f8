//! The plugin without wasm and without a cluster.

use crate::Reader;
use kybern_sdk::json;
use kybern_sdk::testing::Situation;

#[test]
fn both_forms_come_to_the_same() {
    for form in ["arrow", "json"] {
        let cr = json!({
            "apiVersion": "bench.example.com/v1", "kind": "Reader",
            "metadata": { "name": "reader" }, "spec": { "form": form },
        });
        let rows = [
            json!({ "name": "pod-1", "node": "node-1", "restarts": 2 }),
            json!({ "name": "pod-22", "node": "node-2", "restarts": 3 }),
        ];
        let plan = Situation::new(cr)
            .rows("rows", rows)
            .decide::<Reader>()
            .unwrap();
        assert_eq!(
            plan.status().unwrap(),
            &json!({ "rows": 2, "letters": 23, "restarts": 5 })
        );
    }
}
