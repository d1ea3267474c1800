"""What a step gets: its own text rendered, and what the steps it depends on left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.base import JsonObject, Value
from core.fingerprint import fingerprint
from core.plan import Plan, PlanStep
from core.result import FileRef, StepResult
from core.run import Utterance
from core.untrusted import marked
from tasks import templates

MAX_BRIEF_CHARS = 8_000
"""What a dependant is shown of one dependency's result; the whole lies in its files and output."""


class Brief(Value):
    """One dependency as its dependant sees it. Failed optional dependencies have no output."""

    step_id: str
    title: str
    summary: str
    output: Any = None
    files: tuple[FileRef, ...] = ()
    untrusted: bool = False


class Upstream(Value):
    """What reaches a step from outside it.

    ``data`` are the files that the caller gave the run, reachable as ``../data/<path>``, ``files``
    those that lie in the step's own directory from the start. ``conversation`` is what was said
    before the run. ``trusts_data``: the caller answers for what those files say.
    """

    briefs: tuple[Brief, ...] = ()
    data: tuple[FileRef, ...] = ()
    files: tuple[FileRef, ...] = ()
    conversation: tuple[Utterance, ...] = ()
    trusts_data: bool = False

    @property
    def untrusted(self) -> bool:
        """Whether anything here may be a stranger's words."""
        said = (*self.briefs, *self.conversation)
        return any(s.untrusted for s in said) or bool(self.data and not self.trusts_data)


class StepInputs(Value):
    """Exactly what decides a step's result, apart from the agent and the model."""

    goal: str
    instructions: str
    args: JsonObject
    briefs: tuple[Brief, ...]
    data: tuple[FileRef, ...]
    files: tuple[FileRef, ...] = ()
    conversation: tuple[Utterance, ...] = ()
    untrusted: bool = False


def brief(step: PlanStep, result: StepResult | None) -> Brief:
    if result is None:
        return Brief(step_id=step.id, title=step.title, summary="(this step did not complete)")
    return Brief(
        step_id=step.id,
        title=step.title,
        summary=result.summary,
        output=result.output,
        files=result.files,
        untrusted=result.untrusted,
    )


def resolve(plan: Plan, step: PlanStep, upstream: Upstream, verbatim: frozenset[str]) -> StepInputs:
    """Renders the step's templates (an operator's plan only), but for the ``verbatim`` arguments.

    Raises:
        PlanError: a template that fails with the values at hand; names the step and field.
    """
    instructions, args = step.instructions, step.args
    if plan.author == "operator":
        names = _names(plan, upstream.briefs)
        instructions = str(templates.render(instructions, f"step '{step.id}': instructions", names))
        values = {k: v for k, v in args.items() if k not in verbatim}
        args = {**args, **templates.render(values, f"step '{step.id}': args", names)}
    return StepInputs(
        goal=plan.goal,
        instructions=instructions,
        args=args,
        briefs=upstream.briefs,
        data=upstream.data,
        files=upstream.files,
        conversation=upstream.conversation,
        untrusted=plan.untrusted or upstream.untrusted,
    )


def _names(plan: Plan, briefs: tuple[Brief, ...]) -> Mapping[str, Any]:
    steps = {
        b.step_id: {
            "output": b.output,
            "summary": b.summary,
            "files": [f"../{b.step_id}/{f.path}" for f in b.files],
        }
        for b in briefs
    }
    return {"steps": steps, "vars": plan.vars}


def step_fingerprint(step: PlanStep, inputs: StepInputs) -> str:
    """What the step is asked to do. Titles and limits may change without changing it."""
    wording = step.model_dump(
        mode="json",
        include={"id", "kind", "agent", "tool", "tools", "output_schema", "model"},
    )
    return fingerprint(wording, inputs)


def prompt_for(step: PlanStep, inputs: StepInputs, secret: str) -> str:
    """The step as a model reads it. ``secret`` is for the marks around what strangers wrote."""
    lines = [inputs.instructions]
    if inputs.goal != inputs.instructions:
        above = [f"Goal of the whole plan: {inputs.goal}"] if inputs.goal else []
        lines = [*above, f"Your step: {step.title}", *lines]
    if inputs.data:
        lines += ["Files given by the user (read-only):"]
        lines += [f"- ../data/{f.path} ({f.size_bytes} bytes)" for f in inputs.data]
    if inputs.files:
        lines += ["Files of this conversation, in your directory:"]
        lines += [f"- {f.path} ({f.size_bytes} bytes)" for f in inputs.files]
    for item in inputs.briefs:
        lines += [f"Result of step '{item.step_id}' ({item.title}):", _said(item, secret)]
        lines += [f"- file ../{item.step_id}/{f.path} ({f.size_bytes} bytes)" for f in item.files]
    return "\n".join(lines)


def completion_prompt(step: PlanStep, inputs: StepInputs, secret: str) -> str:
    """Instructions that use templates say themselves what the model is to see, and no more."""
    if templates.contains_template(step.instructions):
        return inputs.instructions
    return prompt_for(step, inputs, secret)


def _said(item: Brief, secret: str) -> str:
    text = _cut(item.summary)
    return marked(text, secret) if item.untrusted else text


def _cut(text: str) -> str:
    if len(text) <= MAX_BRIEF_CHARS:
        return text
    return f"{text[:MAX_BRIEF_CHARS]}\n[cut: {len(text) - MAX_BRIEF_CHARS} more characters]"
