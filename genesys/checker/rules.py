"""The catalogue of rules: what each means, and how to repair what it rejects.

`python -m genesys.checker.rules` prints it as Markdown; `docs/rules.md` holds that text.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from genesys.errors import CAUSES, Finding, Severity

Stage = Literal[
    "static", "shape", "unit-tests", "run", "causality", "gradient", "effectiveness", "semantic", "import", "job"
]
STAGES: tuple[Stage, ...] = get_args(Stage)[:-2]
"""The stages in the order in which they run. Beside them, "import" reads published designs before any of them, and
findings of "job" say that there was no verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the checker.

    Attributes:
        means: What must hold, as a sentence.
        hint: What to do about a finding; a finding may carry a better one.
        severity: "either" where the rule has a bound for each; its findings then say which they passed.
    """

    id: str
    stage: Stage
    means: str
    hint: str
    severity: Severity | Literal["either"] = "error"

    def finding(
        self, measured: str, required: str, *, unit: str = "", path: str = "", line: int | None = None, hint: str = "",
        severity: Severity | None = None,
    ) -> Finding:  # fmt: skip
        """A finding of this rule; `severity` is given where the rule's own is "either", and only there."""
        assert (self.severity == "either") == (severity is not None), f"severity of rule {self.id!r}"
        of_rule: Severity = "warning" if self.severity == "warning" else "error"
        return Finding(
            rule=self.id, measured=measured, required=required, hint=hint or self.hint, unit=unit, path=path,
            line=line, severity=severity or of_rule,
        )  # fmt: skip


_RULES: tuple[Rule, ...] = (
    # --- static: the text of each unit, read without running it
    Rule(id="syntax", stage="static", means="The text is Python.", hint="Correct the syntax."),
    Rule(id="one-unit", stage="static", means="The text defines exactly one class with a `kind`.",
         hint='Write a class attribute such as `kind = "mixer"`.'),
    Rule(id="docstring", stage="static", means="The unit's class says what it computes: shapes, complexity, source.",
         hint="Add a docstring to the class."),
    Rule(id="literal", stage="static", means="Declarations in the class body are literals.", hint="Write the value out."),
    Rule(id="kind", stage="static", means="The unit is of a known kind.",
         hint="Use block, mixer, channel, norm, position or wrapper."),
    Rule(id="names", stage="static", means="`reads` and `writes` are tuples of names.", hint='Write `reads = ("name",)`.'),
    Rule(id="init", stage="static", means="The constructor takes `self, d, ctx`, then keywords.",
         hint="Write `def __init__(self, d: int, ctx, *, name: type = default)`."),
    Rule(id="hyperparameter", stage="static", means="Each hyperparameter has a type and a default.",
         hint="Write `name: type = default`."),
    Rule(id="slots", stage="static", means="The slots declared are the slots asked for, by literal names.",
         hint="Declare each slot in `slots`, and ask for it with `ctx.child` or `ctx.children`."),
    Rule(id="open-slot", stage="static", means="A unit stands in every slot.", hint="Bind a unit to it."),
    Rule(id="placeholder", stage="static", severity="warning",
         means="Nothing was measured on a stand-in: an open slot of a partial tree was filled with one.",
         hint="Bind a unit to the slot, and check again."),
    Rule(id="import", stage="static", means="Only the allowed modules are imported, by name.", hint="Write it with torch."),
    Rule(id="forbidden-call", stage="static", means="The text calls nothing that reaches outside of tensor computation.",
         hint="Remove the call."),
    Rule(id="global", stage="static", means="No state is kept outside the unit.",
         hint="Keep values in attributes or local names."),
    Rule(id="forbidden-name", stage="static", means="Of torch and the standard library, only tensor computation is named.",
         hint="Write it with tensor operations; files, processes and devices are not a unit's business."),
    Rule(id="introspection", stage="static", means="No names between double underscores, no private names of others, no frames.",
         hint="Use the public name, or an attribute of `self`."),
    Rule(id="computed-name", stage="static", means="What is reached for is written out, so that it can be read.",
         hint="Write the name as a literal after a dot."),
    Rule(id="monkey-patch", stage="static", means="Nothing that belongs to another module is assigned to.",
         hint="Define a function or a subclass of your own."),
    Rule(id="global-state", stage="static", means="No setting of the process is changed.",
         hint="Leave seeds, threads, number formats and gradient modes to the trainer; pass dtype and device to each call."),
    Rule(id="hook", stage="static", means="No hooks on modules, tensors or parameters.", hint="Compute it in `forward`."),
    Rule(id="custom-gradient", stage="static", means="Gradients are those of autograd.",
         hint="Write the forward pass with differentiable operations."),
    Rule(id="cache", stage="static", means="Nothing is remembered from one call to the next.",
         hint="Compute the table in each call, or register it as a buffer in the constructor."),
    # --- shape: the whole model on the meta device, at every scale
    Rule(id="size-coarse", stage="shape", severity="either",
         means="Some width and depth near each scale give the parameters that it asks for; over 20% off is an error.",
         hint="Make the parameter count grow smoothly with the width d."),
    # --- unit-tests: the tests that units carry
    Rule(id="unit-test", stage="unit-tests", means="The tests in a unit's own text pass.",
         hint="Repair the unit, or the test where it asks for what the unit does not promise."),
    # --- run: the whole model, forward
    Rule(id="shape", stage="run", means="A block gives back the shape (B, L, D) it was given.", hint="Keep the shape of X."),
    Rule(id="finite", stage="run", means="Outputs are finite.", hint="Bound what grows: normalise, scale or clamp it."),
    Rule(id="bfloat16", stage="run", means="Outputs are finite in bfloat16.", hint="Compute sums in float32."),
    Rule(id="deterministic", stage="run", means="Equal inputs give equal outputs, call after call.",
         hint="Keep no state between calls, draw no random numbers."),
    Rule(id="state", stage="run", means="A forward pass leaves no trace: buffers, attributes, defaults, closures and globals stay.",
         hint="Compute it from X and Z in each call; what must be learnt is an nn.Parameter."),
    Rule(id="hidden-tensor", stage="run", means="Every tensor and module is registered, so that it is counted, saved and moved.",
         hint="Use nn.Parameter, register_buffer, nn.ModuleList or ctx.child."),
    Rule(id="buffer-size", stage="run", means="Buffers are no store of weights; tables over the length are exempt.",
         hint="Make weights parameters, or compute the constants in `forward`."),
    Rule(id="frozen", stage="run", means="Every parameter asks for a gradient.",
         hint="Drop requires_grad=False; a constant is a small buffer."),
    Rule(id="in-place", stage="run", means="A unit changes neither its X nor the entries of its Z.",
         hint="Work on a new tensor: `X = X + y`, or `X.clone()` first."),
    Rule(id="undeclared-write", stage="run", means="A unit returns in dZ only names that it or its children declare in `writes`.",
         hint="Declare the name in `writes`, or drop it."),
    # --- causality: the whole model, train and eval mode
    Rule(id="causality", stage="causality", means="No output depends on a later input.", hint="Mask or shift what looks ahead."),
    Rule(id="batch", stage="causality", means="No row of a batch depends on another.", hint="Reduce over D or earlier positions, not over B."),
    Rule(id="length", stage="causality", means="A row cut short gives the outputs that the full row gives up to there.",
         hint="Let nothing depend on the length of X; pad to a chunk inside and cut off again."),
    # --- gradient: one backward pass
    Rule(id="gradient", stage="gradient", means="Every parameter gets a finite, non-zero gradient in some block.",
         hint="Use the parameter in the output, or remove it."),
    Rule(id="identity", stage="gradient", means="The blocks change their input.", hint="Compute something."),
    Rule(id="context", stage="gradient", means="Outputs depend on earlier inputs.", hint="Add a mixer."),
    Rule(id="constant", stage="gradient", means="Outputs depend on inputs.", hint="Let X reach the output."),
    Rule(id="unstable", stage="gradient", means="A few steps at a high learning rate keep outputs finite.",
         hint="Normalise inside the unit, and bound exponents and divisors."),
    Rule(id="no-step", stage="gradient", means="A step of an optimizer changes the output.", hint="Compute the output with the parameters."),
    # --- effectiveness: cost and a short training, against the reference transformer
    Rule(id="not-parallel", stage="effectiveness", means="The number of operations does not grow with every token.",
         hint="Replace the loop over positions by whole-sequence operations, a scan, or a loop over chunks."),
    Rule(id="flops", stage="effectiveness", severity="either",
         means="Forward and backward cost a bounded multiple of the reference's counted FLOPs.",
         hint="Lower the width inside, or the number of branches."),
    Rule(id="flops-growth", stage="effectiveness", severity="either", means="Counted work grows at most as the square of the length.",
         hint="Avoid tensors with three axes of length L."),
    Rule(id="diverged", stage="effectiveness", means="A short training stays finite.",
         hint="Normalise inside the unit, or start its gates nearer to zero."),
    Rule(id="no-learning", stage="effectiveness", means="The loss falls on packed text within a short training.",
         hint="Check the initial scale of the branch and whether the residual path is kept."),
    Rule(id="slow", stage="effectiveness", severity="warning", means="A step takes a bounded multiple of the reference's time.",
         hint="Fuse small operations, or use fewer and larger ones."),
    Rule(id="memory", stage="effectiveness", severity="warning",
         means="A step keeps a bounded multiple of the reference's memory for its backward pass.",
         hint="Keep fewer intermediate tensors of the size of X or larger."),
    Rule(id="recall", stage="effectiveness", severity="warning",
         means="A short training on key-value recall gets below the loss of guessing among the values shown.",
         hint="Let outputs compare the present token with earlier ones."),
    # --- semantic: an observer's judgement
    Rule(id="fidelity", stage="semantic", severity="either", means="The code does what its proposal says.",
         hint="Bring the code and the proposal together."),
    Rule(id="quality", stage="semantic", severity="either", means="The code is worth training: sound, clear, and new.",
         hint="Follow the observer's remarks."),
    # --- import: designs in the published format, read without running them
    Rule(id="design-file", stage="import", means="The file is a whole published implementation.", hint="Check that the file is whole."),
    Rule(id="root", stage="import", means="The file holds the code of the root unit.", hint="Repair the design, or fill the place by hand."),
    Rule(id="tree", stage="import", means="The units fit into each other's slots.", hint="Repair the design, or fill the place by hand."),
    Rule(id="size", stage="import", means="The tree of units has a bounded number of places.", hint="Repair the design."),
    Rule(id="recursion", stage="import", severity="warning", means="No unit contains itself; the slot is left open.",
         hint="Repair the design, or fill the place by hand."),
    Rule(id="unit-class", stage="import", means="Each unit's code defines a class that derives from GAUBase.",
         hint="Define the unit's class."),
    Rule(id="published-line", stage="import", means="The line below an imported text says how to read it.",
         hint="Import the design anew."),
)  # fmt: skip

_STAGE_FAILURES = tuple(
    Rule(
        id=f"{stage}-error",
        stage=stage,
        means=f"The {stage} stage runs through without an exception of the design's code.",
        hint="Repair the line; the message is Python's.",
    )
    for stage in STAGES
    if stage != "semantic"
)
_NO_VERDICT = tuple(
    Rule(
        id=f"check-{cause}",
        stage="job",
        means=f"The check ends with a verdict; it ended with {cause!r}.",
        hint="Run `genesys check` on the design to see more.",
    )
    for cause in CAUSES
)

RULES: Mapping[str, Rule] = {rule.id: rule for rule in (*_RULES, *_STAGE_FAILURES, *_NO_VERDICT)}


def as_markdown() -> str:
    """The catalogue as the text of `docs/rules.md`."""
    return "\n".join(_markdown_lines()) + "\n"


def _markdown_lines() -> Iterator[str]:
    yield "# Rules of the checker"
    yield ""
    yield "Made from `genesys/checker/rules.py` by `python -m genesys.checker.rules`. An error rejects a design, a warning does not."
    for stage in (*STAGES, "import", "job"):
        yield from ("", f"## {stage}", "", "| rule | severity | what must hold | what to do |", "|---|---|---|---|")
        for rule in RULES.values():
            if rule.stage == stage:
                severity = "error or warning" if rule.severity == "either" else rule.severity
                yield f"| `{rule.id}` | {severity} | {rule.means} | {rule.hint} |"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
