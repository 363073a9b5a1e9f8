"""Renders templates with Python's Jinja2: JSON in, JSON out.

Input: {"context": {...}, "templates": [...]}; output: one {"text"} or {"error"} each. What this
interpreter changes on purpose is changed here as well: null, booleans, lists and maps are written as
YAML has them, undefined values are errors, blocks take their lines with them.
"""
import base64
import hashlib
import json
import re
import sys

import jinja2


def written(value):
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return value


environment = jinja2.Environment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True, finalize=written,
    extensions=["jinja2.ext.loopcontrols"],
)
environment.filters.update(
    b64encode=lambda text: base64.b64encode(text.encode()).decode(),
    b64decode=lambda text: base64.b64decode(text).decode(),
    hash=lambda text, kind="sha256": hashlib.new(kind, text.encode()).hexdigest(),
    regex_replace=lambda text, pattern, to: re.sub(pattern, to, text),
    regex_findall=lambda text, pattern: re.findall(pattern, text),
    to_json=lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    from_json=json.loads,
)
work = json.load(sys.stdin)
answers = []
for template in work["templates"]:
    try:
        answers.append({"text": environment.from_string(template).render(work["context"])})
    except Exception as error:  # noqa: BLE001
        answers.append({"error": f"{type(error).__name__}: {error}"})
json.dump({"version": jinja2.__version__, "answers": answers}, sys.stdout)
