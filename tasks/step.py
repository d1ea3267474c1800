"""One attempt of one step: an agent's loop, one tool run, or one model call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jsonschema
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from agents.loop import TERMINATE, AgentOutcome, AgentTask, run_agent
from core.agent import AgentSpec, matching
from core.base import as_stored
from core.completion import Completion, CompletionRequest, StopReason
from core.errors import PlanError, StepFailedError
from core.fingerprint import fingerprint
from core.message import user
from core.plan import PlanStep
from core.result import Spend, StepResult
from core.usage import UsageEvent
from tasks.abilities import context_tokens, route_for
from tasks.approval import approve_step
from tasks.conversation import ANSWER_STEP, messages_of
from tasks.deadline import StepClock
from tasks.inputs import StepInputs, completion_prompt, prompt_for
from tasks.model_call import DurableModel
from tasks.plan_book import StepBook
from tasks.policies import KEY_PARAMETER
from tasks.run import Position, Run, current_run
from tasks.taint import first_turn, is_tainted, mark, private_directory
from tasks.tool_desk import BEFORE_ALL_TURNS, AgentTools, ToolDesk
from tools.base import ToolContext
from tools.mcp.tool import pin_tools
from tools.resources import Resources, Scopes, resources
from tools.sandbox.base import SandboxLimits


@dataclass(frozen=True, slots=True)
class StepWork:
    """What an attempt works on. ``inputs`` is the problem where the step's templates failed."""

    step: PlanStep
    inputs: StepInputs | PlanError
    attempt: int

    @property
    def label(self) -> str:
        """As the UI shows it."""
        again = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        return f"{self.step.id}{again}"


@task(task_run_name="{label}", cache_policy=KEY_PARAMETER, persist_result=True)
async def run_step(work: StepWork, key: str, label: str) -> StepResult:
    """Does the step's work.

    Idempotent: under the same key it returns the committed result, and an attempt that was cut
    short replays its committed calls and goes on.

    Raises:
        StepFailedError: the work was done and the outcome is bad.
        ManusError: what stopped it from being done.
    """
    if isinstance(work.inputs, PlanError):
        raise work.inputs
    run = current_run()
    clock = StepClock(work.step.timeout_seconds, run.slots)
    async with resources() as scope, clock.running():
        attempt = _Attempt.begin(run, work, work.inputs, clock, scope)
        if work.step.approval:
            human = attempt.desk.operator(f"{key}-approval", label)
            await approve_step(work.step, work.inputs, human)
        match work.step.kind:
            case "agent":
                return await attempt.by_agent()
            case "tool":
                return await attempt.by_tool()
            case "completion":
                return await attempt.by_completion()


@task(task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False)
async def mark_skipped(label: str, reason: str) -> State[None]:
    """Shows a step that will not run. Never cached: a resume may run it after all."""
    return Completed(name="Skipped", message=reason)


@dataclass(slots=True)
class _Attempt:
    """An attempt under way, with its own model and tools."""

    run: Run
    step: PlanStep
    inputs: StepInputs
    number: int
    agent: AgentSpec | None
    model: DurableModel
    desk: ToolDesk
    began: float

    @classmethod
    def begin(
        cls, run: Run, work: StepWork, inputs: StepInputs, clock: StepClock, scope: Resources
    ) -> _Attempt:
        step, number = work.step, work.attempt
        agent = run.services.agents[step.agent] if step.kind == "agent" else None
        position = Position(step.id, number)
        name = agent.name if agent else None
        allowed = allowed_tools(step, agent, run.services.tools.names)
        context = _tool_context(run, step, scope)
        pin_tools(context, map(run.services.tools.get, allowed))
        model = DurableModel(run, position, name, on_answer=_log_turn)
        desk = ToolDesk(
            run=run,
            position=position,
            context=context,
            model=model,
            route=route_of(run, step),
            clock=clock,
            allowed=allowed,
            agent_name=name,
            on_unknown=step.on_unknown,
            untrusted_from=_untrusted_from(run, step, inputs, position),
        )
        return cls(run, step, inputs, number, agent, model, desk, time.monotonic())

    async def by_agent(self) -> StepResult:
        assert self.agent is not None
        route = route_of(self.run, self.step)
        outcome = await run_agent(
            AgentTask(
                spec=self.agent,
                prompt=prompt_for(self.step, self.inputs, self.run.key),
                tools=self.run.services.tools.definitions(self.desk.allowed),
                route=route,
                max_turns=self.step.max_turns or self.agent.max_turns,
                history=messages_of(self.inputs.conversation),
                output_schema=self.step.output_schema or self.agent.output_schema,
                context_tokens=context_tokens(self.run.services.router, route, self.agent),
            ),
            self.model,
            AgentTools(self.desk),
        )
        if outcome.status != "completed":
            raise self._failed(outcome.text, blocked=outcome.status == "blocked")
        return await self._result(outcome)

    async def by_tool(self) -> StepResult:
        assert self.step.tool is not None
        result = await self.desk.run_tool(self.step.tool, self.inputs.args, turn=0, index=0)
        if result.is_error:
            raise self._failed(result.text)
        return await self._result(AgentOutcome("completed", result.output, result.data))

    def _failed(self, reason: str, *, blocked: bool = False) -> StepFailedError:
        untrusted = self.desk.untrusted_from is not None
        return StepFailedError(reason, blocked=blocked, untrusted=untrusted)

    async def by_completion(self) -> StepResult:
        request = CompletionRequest(
            messages=(user(completion_prompt(self.step, self.inputs, self.run.key)),),
            route=route_of(self.run, self.step),
            output_schema=self.step.output_schema,
        )
        completion = await self.model.complete(request, turn=1)
        if completion.stop_reason in (StopReason.LENGTH, StopReason.REFUSAL):
            raise self._failed(f"the model stopped short ({completion.stop_reason.value})")
        output = self._structured(completion) if self.step.output_schema else None
        return await self._result(AgentOutcome("completed", completion.text, output, turns=1))

    def _structured(self, completion: Completion) -> Any:
        try:
            output = json.loads(completion.text)
            jsonschema.validate(output, self.step.output_schema or {})
        except (ValueError, jsonschema.ValidationError) as error:
            problem = error.message if isinstance(error, jsonschema.ValidationError) else error
            raise self._failed(f"the answer does not fit output_schema: {problem}") from error
        return output

    async def _result(self, outcome: AgentOutcome) -> StepResult:
        duration = time.monotonic() - self.began
        self.run.emit(
            UsageEvent(
                event_id=fingerprint(self.run.key, self.step.id, self.number, "step")[:32],
                kind="step",
                run_key=self.run.key,
                step_id=self.step.id,
                attempt=self.number,
                operation_name="invoke_agent",
                agent_name=self.agent.name if self.agent else None,
                duration_seconds=duration,
            )
        )
        result = StepResult(
            step_id=self.step.id,
            attempt=self.number,
            summary=outcome.text.strip(),
            output=outcome.output,
            # Hashing large files must not hold up the other steps.
            files=await asyncio.to_thread(self.desk.context.directory.list_files),
            turns=outcome.turns,
            spend=self.model.spend + Spend(tool_calls=self.desk.calls),
            untrusted=self.desk.untrusted_from is not None,
        )
        return as_stored(result)


def _tool_context(run: Run, step: PlanStep, scope: Resources) -> ToolContext:
    private = private_directory(run.directory, step.id)
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    return ToolContext(
        directory=run.workspace.step(step.id, step.depends_on),
        sandbox=run.services.sandbox,
        limits=SandboxLimits.from_settings(run.services.settings.sandbox),
        scopes=Scopes(step=scope, run=run.resources, process=run.services.resources),
        private=private,
        plan=StepBook(run, step.id),
    )


def _untrusted_from(run: Run, step: PlanStep, inputs: StepInputs, position: Position) -> int | None:
    """The first turn of this attempt with strangers' words in view, as far as it has come.

    What failed has no result that would say so, but its files are there: of earlier attempts in the
    step's own directory, of optional steps in those it depends on.
    """
    place = run.directory
    left = is_tainted(place, step.id, before_attempt=position.attempt)
    left |= any(is_tainted(place, needed) for needed in step.depends_on)
    if inputs.untrusted or left or (step.id == ANSWER_STEP and _carries_untrusted(run)):
        mark(place, position, BEFORE_ALL_TURNS)
    return first_turn(place, position)


def _carries_untrusted(run: Run) -> bool:
    """Whether files taken over from an earlier run may hold strangers' words."""
    if not run.carried or run.options.files_of is None:
        return False
    earlier = run.directory.parent / run.options.files_of
    known = private_directory(earlier, ANSWER_STEP).is_dir()
    return not known or is_tainted(earlier, ANSWER_STEP)


def _log_turn(turn: int, completion: Completion) -> None:
    calls = ", ".join(c.name for c in completion.tool_calls) or "answer"
    get_run_logger().info(
        "turn %d: %s -> %s (%d tokens in, %d out, %.1f s)",
        turn,
        completion.deployment,
        calls,
        completion.usage.input_tokens,
        completion.usage.output_tokens,
        completion.latency_seconds,
    )


def allowed_tools(
    step: PlanStep, agent: AgentSpec | None, available: Collection[str]
) -> tuple[str, ...]:
    """The agent's tools that are there, narrowed by the step's own list, and ``terminate``."""
    if step.kind == "tool":
        return (step.tool,) if step.tool else ()
    own = agent.tools_among(available) if agent else ()
    chosen = own
    if step.tools is not None:
        chosen = tuple(t for t in own if any(matching(w, (t,)) for w in step.tools))
    return chosen if not agent or TERMINATE in chosen else (*chosen, TERMINATE)


def route_of(run: Run, step: PlanStep) -> str:
    """The step's own route, else the agent's first that exists, else the run's."""
    agent = run.services.agents.get(step.agent) if step.kind == "agent" else None
    return route_for(run.services.router, agent, step.model, run.options.model)
