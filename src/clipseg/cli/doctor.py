"""`clipseg doctor`: what this machine has, what is missing, and whether clipseg works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from clipseg.cli import health, selftest, terminal
from clipseg.cli.health import FAILED, OK, Finding, broken
from clipseg.errors import MissingPackageError

SECTIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": health.versions,
    "devices": health.devices,
    "settings": health.settings,
    "places": health.places,
    "extras": health.extras,
    "self-test": selftest.self_test,
}


@click.command(
    epilog="Exit codes: 0 all that is needed works, 6 the bundled model does not, 7 no place for temporary files, "
    "10 a package is missing or too old."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on a terminal too; elsewhere always.")
def doctor(as_json: bool) -> None:
    """Tell what this machine has, and whether clipseg works on it: a good thing to put into a report of a problem.

    Looks at versions, devices, settings, caches and extras, and asks the bundled model for something. Prints a JSON
    line for each, or on a terminal tables. Nothing is asked of the network, and secrets are not told.
    """
    failed: list[Finding] = []
    for section, look in SECTIONS.items():
        with terminal.working(section):
            findings = _looked(section, look)
        failed += [finding for finding in findings if finding.state == FAILED]
        _tell(section, findings, as_json)
    for finding in failed:
        terminal.error(f"{finding.name}: {finding.value}; {finding.hint}")
    if failed:
        click.get_current_context().exit(failed[0].code)
    if terminal.wants_table(as_json):
        terminal.say("all that is needed is here and works")


def _looked(section: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A section -> its findings. One that cannot be looked at, as a package is broken, is a finding itself."""
    findings: list[Finding] = []
    try:
        findings.extend(look())
    except Exception as error:  # whatever it is, this is the place to tell of it
        findings.append(broken(section, error, MissingPackageError.exit_code))
    return findings


def _tell(section: str, findings: list[Finding], as_json: bool) -> None:
    if not terminal.wants_table(as_json):
        for one in findings:
            row = {"name": one.name, "value": one.value, "state": one.state, "hint": one.hint}
            terminal.result({"section": section, **row})
    elif findings:
        marked = [(one, "" if one.state == OK else f"{one.state}: ") for one in findings]
        terminal.table(
            (section, ""),
            [(one.name, f"{mark}{one.value}{f' ({one.hint})' if one.hint else ''}") for one, mark in marked],
        )
