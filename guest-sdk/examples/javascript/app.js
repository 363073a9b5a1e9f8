// A Greeting becomes a ConfigMap that greets, and tells which pods there are.

import { open } from "kybern:operator/rows@0.1.0";

function plan(situation) {
  const cr = situation.object;
  const name = cr.spec.name;
  if (!name.trim()) {
    throw { tag: "invalid", val: "spec.name: say whom to greet" };
  }
  const pods = answer("pods").map((row) => row.name);
  const greeting = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: cr.metadata.name },
    data: { greeting: `Hello, ${name}!`, pods: pods.join(", ") },
  };
  return {
    children: "complete",
    actions: [
      { type: "apply", object: greeting },
      { type: "status", status: { pods: pods.length } },
    ],
  };
}

export const decide = {
  decide(situation) {
    try {
      return JSON.stringify(plan(JSON.parse(situation)));
    } catch (why) {
      // Anything else than a hook's error would be a trap, which tells the same less clearly.
      throw why.tag ? why : { tag: "internal", val: String(why) };
    }
  },
};

function answer(query) {
  const found = [];
  const cursor = open(query);
  for (let page = cursor.json(1000); page != null; page = cursor.json(1000)) {
    found.push(...JSON.parse(page));
  }
  return found;
}
