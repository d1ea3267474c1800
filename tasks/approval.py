"""Whether a call of a high-risk tool may run: by policy, or because a person allows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from core.errors import ApprovalDeniedError, StepFailedError
from core.plan import PlanStep
from core.ports import Human, Question
from core.run import ApprovalPolicy
from tasks.inputs import StepInputs
from tools.base import BaseTool

APPROVE, DENY = "approve", "deny"
_SHOWN_CHARACTERS = 4_000
_OUTSIDE = "words from outside (a page, a file, a tool's result) are in view of the model that asks"
_STEP_OUTSIDE = "words from outside (a page, a file, a tool's result) are among what it is given"


async def admit(
    tool: BaseTool,
    arguments: dict[str, Any],
    policy: ApprovalPolicy,
    human: Human,
    *,
    untrusted: bool,
) -> None:
    """Returns where the call may run. The question holds the arguments, so its answer is theirs.

    Args:
        untrusted: strangers' words were in view when the model made this call.

    Raises:
        ApprovalDeniedError: it may not; says by whose word, and how to allow it.
    """
    if tool.annotations.risk == "low":
        return
    case = "untrusted" if untrusted else "high_risk"
    decision = policy.untrusted if untrusted else policy.high_risk
    if decision == "allow":
        return
    why = f" while {_OUTSIDE}" if untrusted else ""
    if decision == "deny":
        raise ApprovalDeniedError(
            f"{tool.name} may not run{why}: policy (approvals.{case} = deny). Go on without it, or "
            "end with failure and say what it was needed for"
        )
    text = f"May `{tool.name}` run{why}?\n\n```json\n{_shown(arguments)}\n```"
    if await human.ask(Question(text=text, choices=(APPROVE, DENY), default=DENY)) != APPROVE:
        raise ApprovalDeniedError(f"{tool.name} may not run: no approval was given")


@dataclass(frozen=True, slots=True)
class CautiousHuman:
    """The port ``Human`` for a model that strangers may speak through: says so, and quotes."""

    human: Human

    async def ask(self, question: Question) -> str:
        text = f"Be careful: {_OUTSIDE}, so it may be their author who asks:\n\n"
        changed = {"text": text + _quoted(question.text)}
        return await self.human.ask(question.model_copy(update=changed))


async def approve_step(step: PlanStep, inputs: StepInputs, human: Human) -> None:
    """Asks before a step with ``approval: true`` begins. The question is about what it will do.

    Raises:
        StepFailedError: nobody approved; the step is blocked.
    """
    why = f" while {_STEP_OUTSIDE}" if inputs.untrusted else ""
    told = _cut(inputs.instructions)
    told = _quoted(told) if inputs.untrusted else told
    text = f"May step '{step.id}' ({step.title}) begin{why}?\n\n{told}"
    if step.tool:
        text += f"\n\nIt runs `{step.tool}`:\n\n```json\n{_shown(inputs.args)}\n```"
    if await human.ask(Question(text=text, choices=(APPROVE, DENY), default=DENY)) != APPROVE:
        raise StepFailedError("no approval was given", blocked=True, refused=True)


def _shown(arguments: dict[str, Any]) -> str:
    return _cut(json.dumps(arguments, indent=2, ensure_ascii=False))


def _cut(text: str) -> str:
    """Whatever is left out counts: another rest is another question."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    digest = sha256(text.encode()).hexdigest()
    more = f"… {len(text) - _SHOWN_CHARACTERS} more characters; SHA-256 of the whole: {digest}"
    return f"{text[:_SHOWN_CHARACTERS]}\n{more}"


def _quoted(text: str) -> str:
    """As Markdown shows what somebody else says."""
    return "\n".join(f"> {line}" for line in text.splitlines())
