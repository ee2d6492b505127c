"""Runs a workspace's tests and writes the counts as JSON.

Called as: driver.py REPORT verbose|brief [MODULE]
"""

import importlib.util
import io
import json
import os
import sys
import traceback
import unittest


class Tally:
    """What became of each test; a failure is never taken back."""

    def __init__(self):
        self.outcomes = {}
        self.failures = []

    def add(self, test, outcome):
        if self.outcomes.get(test) != "failed":
            self.outcomes[test] = outcome

    def fail(self, test, message):
        self.add(test, "failed")
        self.failures.append({"test": test, "message": message})

    def count(self, outcome):
        return sum(1 for each in self.outcomes.values() if each == outcome)


class Recorder(unittest.TestResult):
    def __init__(self, tally, verbose):
        super().__init__()
        self.tally = tally
        self.verbose = verbose

    def _fail(self, test, error):
        kind, value, trace = error
        if self.verbose:
            message = "".join(traceback.format_exception(kind, value, trace))
        else:
            message = "".join(traceback.format_exception_only(kind, value)).strip()
        self.tally.fail(str(test.id()), message)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tally.add(str(test.id()), "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._fail(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tally.add(str(test.id()), "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.tally.add(str(test.id()), "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.tally.fail(str(test.id()), "expected to fail, but passed")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._fail(subtest, err)


class Plugin:
    """The same for pytest."""

    def __init__(self, tally, verbose):
        self.tally = tally
        self.verbose = verbose

    def _message(self, report):
        text = report.longreprtext if hasattr(report, "longreprtext") else str(report.longrepr)
        crash = getattr(report.longrepr, "reprcrash", None)
        lines = text.strip().splitlines()
        if self.verbose or not lines:
            return text
        return crash.message if crash is not None else lines[-1]

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.tally.fail(report.nodeid, self._message(report))
        elif report.skipped:
            self.tally.add(report.nodeid, "skipped")
        elif report.when == "call":
            self.tally.add(report.nodeid, "passed")

    def pytest_collectreport(self, report):
        if report.failed:
            self.tally.fail(report.nodeid or "collection", self._message(report))


def as_path(module):
    """tests.test_auth as the path that pytest takes."""
    path = module.replace(".", "/")
    for candidate in (module, path + ".py", path):
        if os.path.exists(candidate):
            return candidate
    return module


def as_dotted(module):
    """tests/test_auth.py as the name that unittest takes."""
    name = module[:-3] if module.endswith(".py") else module
    return name.strip("/").replace("/", ".")


def run_pytest(tally, verbose, module):
    import pytest

    arguments = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "--rootdir", os.getcwd()]
    arguments += [as_path(module)] if module else []
    pytest.main(arguments, plugins=[Plugin(tally, verbose)])


def run_unittest(tally, verbose, module):
    loader = unittest.TestLoader()
    if module and os.path.isdir(module):
        suite = loader.discover(module, top_level_dir=top_of(module))
    elif module:
        suite = loader.loadTestsFromName(as_dotted(module))
    else:
        start = "tests" if os.path.isdir("tests") else "."
        suite = loader.discover(start, top_level_dir=top_of(start))
    suite.run(Recorder(tally, verbose))


def top_of(directory):
    return "." if os.path.isfile(os.path.join(directory, "__init__.py")) else directory


def measured(run):
    """Runs with coverage of the workspace where the package is there."""
    if importlib.util.find_spec("coverage") is None:
        run()
        return None
    import coverage

    tests = ["tests/*", "*/tests/*", "test_*.py", "*/test_*.py"]
    watch = coverage.Coverage(data_file=None, config_file=False, source=[os.getcwd()], omit=tests, messages=False)
    watch.start()
    try:
        run()
    finally:
        watch.stop()
    try:
        return watch.report(file=io.StringIO())
    except coverage.CoverageException:
        return None


def main(report, verbosity, module):
    # The driver's own directory is no place to import from; the workspace is.
    sys.path[0] = os.getcwd()
    sys.argv = ["guardrail"]
    tally, verbose = Tally(), verbosity == "verbose"
    runner = run_pytest if importlib.util.find_spec("pytest") is not None else run_unittest
    percent = measured(lambda: runner(tally, verbose, module))
    result = {
        "passed": tally.count("passed"),
        "failed": tally.count("failed"),
        "skipped": tally.count("skipped"),
        "coverage_percent": percent,
        "failures": tally.failures,
    }
    with open(report, "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "")
