"""What expected.toml explains, and what the outcome of a suite is worth beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).resolve().with_name("expected.toml")


@dataclass(frozen=True)
class Explanations:
    """Why tests of a suite fail: test to reason."""

    #: Of those that fail each time.
    always: Mapping[str, str]
    #: Of those that may fail.
    either: Mapping[str, str]


def explanations(suite: str, validated: bool) -> Explanations:
    """With wsgiref.validate there are more: the table `[SUITE.validated]`."""
    listed = dict(tomllib.loads(FILE.read_text()).get(suite, {}))
    either = listed.pop("either", {})
    more = listed.pop("validated", {})
    return Explanations({**listed, **more} if validated else listed, either)


@dataclass
class Judgement:
    """A suite's outcome, sorted."""

    name: str
    version: str
    seconds: float
    passed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    #: Test and why; also what is explained but does not fail.
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not self.failed and bool(self.passed)

    def row(self) -> tuple[str, ...]:
        counts = (self.passed, self.explained, self.failed, self.skipped)
        seconds = f"{self.seconds:.0f}"
        return (self.name, self.version, *(str(len(tests)) for tests in counts), seconds)

    def details(self) -> str:
        return "".join(
            f"FAILED {self.name}: {test}\n    {why}\n" for test, why in sorted(self.failed.items())
        )


def judge(
    name: str,
    version: str,
    outcomes: Mapping[str, tuple[str, str]],
    explained: Explanations,
    seconds: float,
) -> Judgement:
    """Holds what became of the tests against what was expected."""
    judgement = Judgement(name, version, seconds)
    for test, (outcome, why) in outcomes.items():
        if outcome == "failed" and (test in explained.always or test in explained.either):
            judgement.explained.append(test)
        elif outcome == "failed":
            judgement.failed[test] = why
        elif outcome == "skipped":
            judgement.skipped.append(test)
        else:
            judgement.passed.append(test)
    for test in explained.always.keys() - set(judgement.explained):
        outcome, _ = outcomes.get(test, ("not run", ""))
        judgement.failed[test] = f"expected.toml explains why it fails, but it was: {outcome}"
    return judgement
