"""The pinned versions of all that is installed, and the check that `make lint` makes of them."""

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci/lock.py"
HASH = "--hash=sha256:" + "0" * 64
PROJECT = {
    "name": "toy",
    "dependencies": ["One_Package>=1,<3"],
    "optional-dependencies": {"test": ["toy[more]"], "docs": [], "more": ["two[extra]>=2"]},
}


@pytest.fixture(scope="module")
def lock():
    spec = importlib.util.spec_from_file_location("lock", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_pins_all_that_is_needed(lock):
    assert lock.main() == 0


@pytest.mark.parametrize(
    "text, problem",
    [
        (f"one-package==2.0 \\\n    {HASH}\ntwo==2.1 ; python_version > '3' {HASH} {HASH}\n", None),
        (f"one-package==2.0 {HASH}\ntwo==2.1\n", "two has no sha256"),
        (f"one-package==2.0 {HASH}\ntwo==2.1 --hash=md5:00\n", "two has no sha256"),
        (f"one-package==2.0 {HASH}\ntwo>=2.1 {HASH}\n", "two is not pinned"),
        (f"one-package==2.0 {HASH}\ntwo @ https://x/two.whl {HASH}\n", "two is not pinned"),
        (f"one-package==3.0 {HASH}\ntwo==2.1 {HASH}\n", "One_Package<3,>=1 is needed, and 3.0"),
        (f"one-package==2.0 {HASH}\n", r"two\[extra\]>=2 is needed, and nothing is pinned"),
        (f"--index-url x\none-package==2.0 {HASH}\ntwo==2.1 {HASH}", "'--index-url x' is no"),
    ],
)
def test_what_is_not_pinned_by_its_hash_is_found(lock, text, problem):
    found = lock.problems(text, PROJECT)
    assert not found if problem is None else re.search(problem, "; ".join(found)), found
