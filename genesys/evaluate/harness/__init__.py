"""lm-eval's tasks, asked of a model of ours. Importing this imports no lm_eval; running a suite does."""

from genesys.evaluate.harness.run import require_suite, run_suite
from genesys.evaluate.harness.scores import SuiteResult, TaskScore
from genesys.evaluate.harness.suites import Suite, SuiteTask, load_suite, suite_names

__all__ = ["Suite", "SuiteResult", "SuiteTask", "TaskScore", "load_suite", "require_suite", "run_suite", "suite_names"]
