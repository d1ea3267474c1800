"""A model that plans a diamond (1 -> n-2 -> 1) and does each step with one tool call and an end.

The goal says how many steps, and how long their tools take: "diamond of 10 steps, tools of 0.5 s".
Stateless: it looks at the request only, so that a resumed run gets the same answers.
"""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.script import Answer, RecordedRequest, ScriptedCall


def code(request: RecordedRequest) -> str:
    """Notes that it ran, and takes as long as the goal says."""
    seconds = re.search(r"tools of ([0-9.]+) s", request.text)
    return (
        "import time\n"
        "with open('ran.log', 'a') as log: log.write('ran\\n')\n"
        f"time.sleep({seconds[1] if seconds else 0}); print('done')"
    )


def plan(size: int) -> dict[str, Any]:
    """The arguments of ``create_plan``: step s000, then those in between, then the last."""
    names = [f"s{i:03d}" for i in range(size)]
    needs: dict[str, list[str]] = {names[0]: [], **{n: [names[0]] for n in names[1:-1]}}
    needs[names[-1]] = names[1:-1]
    steps = [
        {
            "id": name,
            "title": f"Step {name}",
            "instructions": f"Do the work of {name}.",
            "agent": "manus",
            "depends_on": needs[name],
        }
        for name in names
    ]
    return {"title": f"Diamond of {size}", "steps": steps}


def script(request: RecordedRequest) -> Answer:
    if "create_plan" in request.tool_names:
        size = re.search(r"diamond of (\d+) steps", request.text)
        assert size, request.text[:500]
        return Answer(tool_calls=(ScriptedCall("create_plan", plan(int(size[1]))),))
    if "terminate" not in request.tool_names:
        return Answer(text="All steps are done.")
    if request.messages[-1]["role"] == "tool" or "tool_result" in str(request.messages[-1]):
        return Answer(
            tool_calls=(ScriptedCall("terminate", {"status": "success", "message": "done"}),)
        )
    return Answer(tool_calls=(ScriptedCall("python_execute", {"code": code(request)}),))
