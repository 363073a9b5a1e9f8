"""A Greeting becomes a ConfigMap that greets, and tells which pods there are."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import rows
from wit_world.imports.types import HookError_Internal, HookError_Invalid


def plan(situation: dict) -> dict:
    cr = situation["object"]
    name = cr["spec"]["name"]
    if not name.strip():
        raise Err(HookError_Invalid("spec.name: say whom to greet"))
    pods = [row["name"] for row in answer("pods")]
    greeting = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": cr["metadata"]["name"]},
        "data": {"greeting": f"Hello, {name}!", "pods": ", ".join(pods)},
    }
    return {
        "children": "complete",
        "actions": [
            {"type": "apply", "object": greeting},
            {"type": "status", "status": {"pods": len(pods)}},
        ],
    }


class Decide(exports.Decide):
    def decide(self, situation: str) -> str:
        try:
            return json.dumps(plan(json.loads(situation)))
        except Err:
            raise
        except Exception as why:  # a trap would tell the same, less clearly
            raise Err(HookError_Internal(repr(why)))


def answer(query: str) -> list[dict]:
    found = []
    with rows.open(query) as cursor:
        while (page := cursor.json(1000)) is not None:
            found += json.loads(page)
    return found
