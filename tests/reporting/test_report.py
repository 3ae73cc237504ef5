"""Reports on files of the SDK's format, and on those that real runs left behind."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from real_runs import ROOT, Ending, copied, ends, is_one_sentence, lines

import replay
import report
from bitexact.cli.exits import NotReached
from bitexact.reporting import catalog, verdicts
from bitexact.reporting.catalog import Property
from bitexact.storage import config
from training import initial_state
from training.settings import Settings

pytest_plugins = ["real_runs"]

ALL = list(catalog.read(ROOT / "invariants.py").properties)
DECLARED = [one for one in ALL if one.kind != "Unreachable"]
UNREACHABLE = [one for one in ALL if one.kind == "Unreachable"]  # which hold for as long as nothing is seen of them
ALWAYS = [one for one in DECLARED if one.kind == "Always"]
SOMETIMES = [one for one in DECLARED if one.kind == "Sometimes"]
EVERY_RUN = [one for one in DECLARED if one.situation == "every run"]
OF_ITS_PRESET = [one for one in DECLARED if one.situation == "a preset" and one.reached_by.startswith("reinforce")]
ONLY_FAULTS = [one for one in DECLARED if one.situation == "faults"]


TYPES = {
    "Always": "always",
    "Sometimes": "sometimes",
    "Reachable": "reachability",
    "Unreachable": "reachability",
}


def hit(one: Property, condition: bool = True, was_hit: bool = True, **details: Any) -> str:
    """A line as the SDK writes it."""
    assertion = {
        "condition": condition,
        "must_hit": True,
        "hit": was_hit,
        "id": one.claim,
        "message": one.claim,
        "display_type": one.kind,
        "assert_type": {
            "Always": "always",
            "Sometimes": "sometimes",
            "Reachable": "reachability",
            "Unreachable": "reachability",
        }[one.kind],
        "location": {
            "file": "invariants.py",
            "function": one.function,
            "class": "",
            "begin_line": 1,
            "begin_column": 0,
        },
        "details": details,
    }
    return json.dumps({"antithesis_assert": assertion}) + "\n"


def write_process(run: Path, name: str, *hits: str) -> None:
    """What one process of a run saw."""
    head = json.dumps({"antithesis_sdk": {"language": {"name": "Python", "version": "3"}, "sdk_version": "0"}}) + "\n"
    (run / "properties").mkdir(exist_ok=True)
    (run / "properties" / f"{name}.jsonl").write_text("".join([head, *hits]))


def new_run(directory: Path) -> Path:
    """A run of which nothing is known but its settings."""
    directory.mkdir()
    settings = Settings(hidden_units=1, run_dir=directory)
    config.write(settings.directory, {"settings": settings.lasting()}, initial_state.from_seed(settings).digest())
    return directory


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return new_run(tmp_path / "made")


def but(left_out: Property, ones: list[Property] = DECLARED) -> list[str]:
    """Passes of all properties but one."""
    return [hit(one) for one in ones if one != left_out]


def status(one: Property, *runs: Path) -> str:
    (verdict,) = (verdict for verdict in verdicts.make(runs).verdicts if verdict.declared == one)
    return verdict.status


def reported(*arguments: object) -> Ending:
    ending = ends(report.main, *arguments)
    assert ending.code == 0 or is_one_sentence(ending.sentence)
    return ending


def summary(passed: int, failed: int, never: int, processes: str) -> str:
    hold, wait = (0, len(UNREACHABLE)) if processes.startswith("0") else (len(UNREACHABLE), 0)
    return f"properties: {passed + hold} passed, {failed} failed, {never + wait} never reached ({processes})\n"


# ---- files made by hand -----------------------------------------------------------------------------------------


def test_a_run_in_which_every_property_passed_is_as_it_must_be(made):
    write_process(made, "host-1", *map(hit, DECLARED))
    for arguments in ((made,), (made, "--all-reached")):
        ending = reported(*arguments)
        assert ending.code == 0
        assert ending.output.endswith(summary(len(DECLARED), 0, 0, "1 process"))
        assert verdicts.NEVER not in ending.output.removesuffix(summary(len(DECLARED), 0, 0, "1 process"))


def test_a_failed_property_is_named_with_its_details_and_the_command_that_reproduces_it(made):
    write_process(made, "host-1", *but(ALWAYS[0]), hit(ALWAYS[0], False, update=7, index=2, found="x"))
    ending = reported(made)
    assert ending.code == 1
    assert ending.sentence == f"1 of the properties failed, first: {ALWAYS[0].claim}."
    assert f"FAILED: {ALWAYS[0].claim}\n  first: {{'update': 7, 'index': 2, 'found': 'x'}}\n" in ending.output
    assert f"  reproduce: python replay.py {made} --update=7 --rollout=2\n" in ending.output
    assert ending.output.endswith(summary(len(DECLARED) - 1, 1, 0, "1 process"))


def test_a_failure_of_a_whole_update_is_reproduced_by_its_update(made):
    write_process(made, "host-1", hit(ALWAYS[0], False, update=7))
    assert f"  reproduce: python replay.py {made} --update=7\n" in reported(made).output


def test_a_failure_that_names_no_update_has_no_command(made):
    write_process(made, "host-1", hit(ALWAYS[0], False, seed=3))
    ending = reported(made)
    assert ending.code == 1
    assert "reproduce" not in ending.output


def test_the_reproducing_command_can_be_pasted_whatever_the_run_is_called(tmp_path):
    run = new_run(tmp_path / "it's a $run; with spaces")
    write_process(run, "host-1", hit(ALWAYS[0], False, update=7))
    (verdict,) = (one for one in verdicts.make([run]).verdicts if one.reproduce)
    assert shlex.split(verdict.reproduce) == ["python", "replay.py", str(run), "--update=7"]


@pytest.mark.parametrize("one", EVERY_RUN, ids=lambda one: one.function)
def test_what_every_run_reaches_must_have_been_reached(one, made):
    write_process(made, "host-1", *but(one))
    with pytest.raises(NotReached, match="1 of the properties were never reached") as missing:
        verdicts.make([made]).raise_for_status()
    assert one.claim in str(missing.value)


def test_what_only_faults_reach_need_not_have_been_reached_unless_it_is_asked_for(made):
    write_process(made, "host-1", *but(ONLY_FAULTS[0]))
    ending = reported(made)
    assert ending.code == 0
    assert ending.output.endswith(summary(len(DECLARED) - 1, 0, 1, "1 process"))
    asked = reported(made, "--all-reached")
    assert asked.code == 5
    assert asked.sentence == f"1 of the properties were never reached, first: {ONLY_FAULTS[0].claim}."


def test_a_failed_property_counts_more_than_one_that_was_never_reached(made):
    write_process(made, "host-1", hit(ALWAYS[0], False, update=1))
    assert reported(made, "--all-reached").code == 1


def test_a_run_of_which_nothing_was_seen_has_reached_nothing(made):
    ending = reported(made)
    assert ending.code == 5
    assert ending.output.endswith(summary(0, 0, len(DECLARED), "0 processes"))


def test_what_several_processes_saw_is_joined(made):
    write_process(made, "head-1", *map(hit, DECLARED[::2]))
    write_process(made, "worker-1", *map(hit, DECLARED[1::2]))
    ending = reported(made, "--all-reached")
    assert ending.code == 0
    assert ending.output.endswith(summary(len(DECLARED), 0, 0, "2 processes"))


@pytest.mark.parametrize("failing", ["a-1", "b-1"])
def test_a_property_that_fails_in_one_process_and_passes_in_another_has_failed(failing, made):
    write_process(made, "a-1", hit(ALWAYS[0]))
    write_process(made, "b-1", hit(ALWAYS[0]))
    write_process(made, failing, hit(ALWAYS[0], False, update=1))
    assert status(ALWAYS[0], made) == verdicts.FAILED


def test_a_property_that_passes_and_then_fails_in_a_process_has_failed(made):
    write_process(made, "a-1", hit(ALWAYS[0]), hit(ALWAYS[0], False))
    assert status(ALWAYS[0], made) == verdicts.FAILED


def test_what_is_sometimes_to_happen_and_never_did_was_never_reached(made):
    point_won = next(one for one in SOMETIMES if one.situation == "every run")
    write_process(made, "host-1", *but(point_won), hit(point_won, False))
    assert status(point_won, made) == verdicts.NEVER
    ending = reported(made)
    assert ending.code == 5
    assert point_won.claim in ending.sentence


def test_what_is_sometimes_to_happen_passes_when_it_happened_in_one_process(made):
    write_process(made, "a-1", hit(SOMETIMES[0], False))
    write_process(made, "b-1", hit(SOMETIMES[0], True))
    assert status(SOMETIMES[0], made) == verdicts.PASSED


def test_what_was_declared_to_the_sdk_and_not_hit_was_never_reached(made):
    write_process(made, "a-1", hit(ALWAYS[0], condition=False, was_hit=False))
    assert status(ALWAYS[0], made) == verdicts.NEVER


def test_a_torn_last_line_is_named_and_the_others_count(made):
    write_process(made, "host-1", *map(hit, DECLARED[1:]), hit(DECLARED[0])[:60])
    ending = reported(made)
    assert ending.code == 5
    assert DECLARED[0].claim in ending.sentence
    assert f"host-1.jsonl line {len(DECLARED) + 1} is damaged" in ending.output
    assert ending.output.count("is damaged") == 1


def test_what_is_not_declared_is_told_of(made):
    stranger = Property("A stranger's claim", "Always", "f", 1, "every run", "", "")
    write_process(made, "host-1", *map(hit, DECLARED), hit(stranger, False))
    assert f"not declared here, and left out: {stranger.claim}" in reported(made).output


def test_several_runs_are_joined_and_a_failure_names_its_run(made, tmp_path):
    other = new_run(tmp_path / "other")
    write_process(made, "host-1", *but(ALWAYS[0]))
    write_process(other, "host-1", hit(ALWAYS[0], False, update=3))
    assert reported(made).code == 5
    ending = reported(made, other)
    assert ending.code == 1
    assert f"reproduce: python replay.py {other} --update=3" in ending.output
    assert ending.output.endswith(summary(len(DECLARED) - 1, 1, 0, "2 processes"))
    write_process(other, "host-1", hit(ALWAYS[0]))
    assert reported(made, other, "--all-reached").code == 0


def test_the_table_has_each_property_with_its_result_in_the_order_of_the_declarations(made):
    write_process(made, "host-1", *but(ONLY_FAULTS[0], DECLARED[1:]), hit(DECLARED[0], False))
    statuses = [line.split("  ")[0].strip() for line in wide(made).splitlines()[: len(ALL)]]
    assert statuses == [
        {DECLARED[0]: verdicts.FAILED, ONLY_FAULTS[0]: verdicts.NEVER}.get(one, verdicts.PASSED) for one in ALL
    ]
    for one, line in zip(ALL, wide(made).splitlines(), strict=False):
        assert one.claim in line
        assert one.kind.lower() in line


def wide(run: Path) -> str:
    """The report on a terminal so wide that no line is broken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "400")
        return reported(run).output


# ---- files that real runs left ----------------------------------------------------------------------------------


def test_a_real_run_reaches_what_every_run_must(undisturbed):
    ending = reported(undisturbed)
    assert ending.code == 0
    reached = len(EVERY_RUN) + len(OF_ITS_PRESET)
    assert ending.output.endswith(summary(reached, 0, len(DECLARED) - reached, "1 process"))
    assert reported(undisturbed, "--all-reached").code == 5


def test_a_run_that_was_killed_and_resumed_reaches_what_only_such_a_run_reaches(resumed, undisturbed):
    reached = {one.declared.function for one in verdicts.make([resumed]).verdicts if one.status == verdicts.PASSED}
    of_any_run = {
        one.declared.function for one in verdicts.make([undisturbed]).verdicts if one.status == verdicts.PASSED
    }
    assert reached - of_any_run == {
        "a_rollout_done_twice_gives_the_same_bytes",
        "an_update_is_done_again",
        "an_update_done_again_gives_its_recorded_digest",
        "a_resumed_run_continues_after_its_checkpoint",
        "a_run_resumes_after_update_0",
    }
    assert len(list((resumed / "properties").iterdir())) == 2


def test_the_command_that_reproduces_a_real_failure_does(failed):
    ending = reported(failed)
    assert ending.code == 1
    assert ending.sentence.endswith("first: An update computed again has its recorded digest.")
    digest = lines(failed / "metrics.jsonl")[2]["weights_digest"]
    assert f"'recorded': '{digest}'" in ending.output
    (command,) = (line for line in ending.output.splitlines() if line.startswith("  reproduce: "))
    python, program, *arguments = shlex.split(command.removeprefix("  reproduce: "))
    assert (python, program) == ("python", "replay.py")
    replayed = ends(replay.main, *arguments)
    assert replayed.code == 1
    assert "update 3 differs from its record" in replayed.sentence


def test_a_run_in_progress_is_reported_on_and_only_read(run):
    (file,) = (run / "properties").iterdir()
    with file.open("a") as opened:
        opened.write('{"antithesis_assert": {"hit"')
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert reported(run).code == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


# ---- bad input --------------------------------------------------------------------------------------------------


def test_bad_input_is_named_in_one_sentence(made, tmp_path):
    missing = tmp_path / "missing"
    (tmp_path / "file").write_text("")
    for arguments, reason in [
        ([], "name a run directory"),
        ([missing], f"{missing} holds no run"),
        ([made, missing], f"{missing} holds no run"),
        ([made, "--html", missing / "page.html"], f"{missing / 'page.html'} cannot be written"),
        ([made, "--html", tmp_path / "file" / "page.html"], f"{tmp_path / 'file' / 'page.html'} cannot be written"),
        ([made, "--html", tmp_path], f"{tmp_path} cannot be written"),
        ([made, "--each"], "--each"),
    ]:
        ending = reported(*arguments)
        assert ending.code == 2
        assert reason in ending.sentence


def test_the_command_ends_with_its_exit_code_and_one_line_on_standard_error(failed, tmp_path):
    run = copied(failed, tmp_path / "run")
    page = tmp_path / "page.html"
    line = [sys.executable, ROOT / "report.py", run, f"--html={page}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("report.py: 1 of the properties failed")
    assert done.stderr.count("\n") == 1
    assert done.stdout.endswith(f"page: {page}\n")
    assert page.read_text().startswith("<!doctype html>")


# ---- another system's run -------------------------------------------------------------------------------------------


def test_a_run_of_another_system_is_held_to_its_own_properties(made, tmp_path):
    (lake,) = (found for found in catalog.find() if found.file == "examples/invariants.py")
    (made / "config.json").write_text(
        json.dumps(
            {
                "versions": {"numpy": "2"},
                "python": "3",
                "initial_digest": "0" * 64,
                "ice": {"slippery": True},
                "walkers": 16,
            }
        )
    )
    first, *others = lake.properties
    write_process(made, "host-1", hit(first, False, update=3), *map(hit, others))
    ending = reported(made, f"--html={tmp_path / 'page.html'}")
    assert ending.code == 1
    assert f"reproduce: python -m examples.frozen_lake {made} --replay\n" in ending.output
    assert f"properties: {len(others)} passed, 1 failed, 0 never reached" in ending.output
    page = (tmp_path / "page.html").read_text()
    assert "<td>slippery</td><td>True</td>" in page
    assert "<td>walkers</td><td>16</td>" in page


def test_runs_of_two_systems_are_held_to_the_properties_of_both(made):
    (lake,) = (found for found in catalog.find() if found.file == "examples/invariants.py")
    write_process(made, "host-1", *map(hit, DECLARED))
    write_process(made, "host-2", *map(hit, lake.properties))
    assert verdicts.make([made]).count(verdicts.PASSED) == len(ALL) + len(lake.properties)


# ---- what must not be reached ---------------------------------------------------------------------------------------


def test_what_must_not_be_reached_fails_where_it_was(made):
    write_process(made, "host-1", *map(hit, DECLARED), hit(UNREACHABLE[0], False, exception="KeyError"))
    ending = reported(made, "--all-reached")
    assert ending.code == 1
    assert ending.sentence == f"1 of the properties failed, first: {UNREACHABLE[0].claim}."


def test_a_process_whose_disk_refused_is_named(made):
    write_process(made, "host-1.incomplete", *map(hit, DECLARED))
    assert "host-1.incomplete.jsonl lacks some of what its process saw" in reported(made).output
