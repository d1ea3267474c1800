"""Bad input: one clear error that names the place, and nothing starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import BadInputError
from core.run import RunOptions
from core.settings import load_settings
from tasks.request import prepare
from tasks.services import open_services

GOOD = """
title: A plan
vars: {x: 1}
steps:
  - {id: a, title: A, kind: tool, tool: python_execute, args: {code: "print(1)"}}
"""

STEP = "{id: b, title: B, kind: tool, tool: python_execute, args: {code: '1'}"
OTHER = STEP.replace("id: b", "id: c")

WRONG = {
    "unknown agent": (
        GOOD + "  - {id: b, title: B, instructions: x, agent: nobody}",
        "'b'.*'nobody'",
    ),
    "unknown tool": (GOOD + "  - {id: b, title: B, kind: tool, tool: hammer}", "'b'.*'hammer'"),
    "unknown tool of an agent": (
        GOOD + "  - {id: b, title: B, instructions: x, tools: [hammer]}",
        "'b'.*'hammer'",
    ),
    "cycle": (
        GOOD
        + f"  - {STEP}, depends_on: [c]}}\n  - {STEP.replace('id: b', 'id: c')}, depends_on: [b]}}",
        "cycle b -> c -> b",
    ),
    "dangling dependency": (GOOD + f"  - {STEP}, depends_on: [zz]}}", "'b'.*'zz'"),
    "duplicate id": (GOOD + f"  - {STEP.replace('id: b', 'id: a')}}}", "'a'.*2 times"),
    "reserved id": (GOOD + f"  - {STEP.replace('id: b', 'id: data')}}}", "'data'.*reserved"),
    "bad YAML": ("title: [", "plan.yaml: not YAML"),
    "not a mapping": ("- a", "plan.yaml: a plan is a mapping"),
    "no steps": ("title: x\nsteps: []", "plan.yaml: steps"),
    "unknown key": (
        GOOD + f"  - {STEP}, colour: red}}",
        "plan.yaml: step 'b': unknown key 'colour'",
    ),
    "wrong kind": (GOOD + "  - {id: b, title: B, kind: dance}", "step 'b': kind"),
    "undefined variable": (
        GOOD + "  - {id: b, title: B, instructions: '{{ vars.y }}'}",
        "'b': instructions: 'vars.y' is undefined",
    ),
    "a step that is no dependency": (
        GOOD + "  - {id: b, title: B, instructions: '{{ steps.a.output }}'}",
        "'steps.a' is undefined",
    ),
    "a value in code": (
        GOOD.replace("print(1)", "print({{ vars.x }})"),
        "'a': args.code: values never become code",
    ),
    "arguments that do not fit the tool": (GOOD.replace("code:", "cod:"), "'a'.*cod"),
    "unknown route": (GOOD + "  - {id: b, title: B, instructions: x, model: turbo}", "'b'.*turbo"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_plan_is_refused_with_its_place(home: Path, case: str) -> None:
    text, message = WRONG[case]
    path = home.parent / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    async with open_services() as services:
        with pytest.raises(BadInputError, match=message):
            prepare(services, "", path, RunOptions(), "key")
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("goal", "options", "message"),
    [
        ("", RunOptions(), "give a goal or a plan"),
        ("x", RunOptions(inputs=("/no/such.csv",)), r"/no/such\.csv"),
        ("x", RunOptions(vars={"x": 1}), "variables"),
        ("x", RunOptions(model="turbo"), "turbo"),
        ("x", RunOptions(resume_from="abc"), "no run 'abc'"),
    ],
)
async def test_wrong_options_are_refused_by_name(
    home: Path, goal: str, options: RunOptions, message: str
) -> None:
    async with open_services() as services:
        with pytest.raises(BadInputError, match=message):
            prepare(services, goal, None, options, "key")
    assert not (home / "runs").exists()


async def test_a_variable_that_the_plan_does_not_declare_is_refused(home: Path) -> None:
    path = home.parent / "plan.yaml"
    path.write_text(GOOD, encoding="utf-8")
    async with open_services() as services:
        with pytest.raises(BadInputError, match=r"variable 'y'.*it has: x"):
            prepare(services, "", path, RunOptions(vars={"y": "1"}), "key")


def _manus(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from gateway.cli.main import main; main()", *arguments],
        env={**os.environ, "MANUS_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_exits_with_2_one_line_and_no_server(home: Path) -> None:
    done = _manus(home, "run", "/no/such/plan.yaml")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "/no/such/plan.yaml" in done.stderr
    assert not (home / "runs").exists()
    assert not (home / "prefect").exists()


def test_with_json_the_error_is_a_document(home: Path) -> None:
    done = _manus(home, "resume", "abc", "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["error"] == "RunNotFoundError"
    assert document["exit_code"] == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "x", "--max-cost", "nan"), "max_cost_usd"),
        (("run", "x", "--parallel", "0"), "max_parallel_steps"),
        (("run", "x", "--agent", "manus", "--max-replans", "99"), "max_replans"),
        (("resume", "abc", "--max-tokens", "-1"), "abc"),
        (("runs", "--limit", "-1"), "--limit -1"),
        (("usage", "--days", "0"), "--days 0"),
        (("usage", "--days", "99999999"), "--days 99999999"),
        (("cache", "clear", "--older-than", "9999999999d"), "9999999999d"),
    ],
)
def test_a_number_out_of_range_is_bad_input(
    home: Path, arguments: tuple[str, ...], named: str
) -> None:
    done = _manus(home, *arguments, "--json")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert named in json.loads(done.stdout)["message"]


def test_an_unknown_key_of_manus_toml_names_file_and_key(home: Path) -> None:
    home.mkdir()
    (home / "manus.toml").write_text("[run]\nmax_parallel = 3\n", encoding="utf-8")
    done = _manus(home, "run", "a goal")
    assert done.returncode == 2
    assert "manus.toml" in done.stderr
    assert "run.max_parallel" in done.stderr


def test_an_unknown_variable_of_ours_is_refused(home: Path) -> None:
    done = _manus(home, "run", "a goal", MANUS_RUNN__X="1")
    assert done.returncode == 2
    assert "MANUS_RUNN__X" in done.stderr


def test_without_any_provider_it_says_which_variables_to_set(home: Path) -> None:
    home.mkdir()
    text = '[providers.mine]\nkind = "openai"\n'
    (home / "manus.toml").write_text(text, encoding="utf-8")
    done = _manus(home, "run", "a goal")
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    assert load_settings().home == home


def test_a_server_that_does_not_answer_is_an_environment_error(home: Path) -> None:
    path = home.parent / "plan.yaml"
    path.write_text(GOOD, encoding="utf-8")
    done = _manus(home, "run", str(path), PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 3
    assert "http://127.0.0.1:9/api does not answer" in done.stderr
    assert not (home / "runs").exists()
