"""Who works on which design, before the books have it: no two designers make the same one."""

from __future__ import annotations

from collections.abc import Collection

from genesys.evolution import EvolutionTree


class Claims:
    """The tree's memory of designs in the making, beside the books: lost with its process, and not missed.

    A claim is held by a designer's slot, or by a session in its own name, so that whoever takes a session up has what it
    claimed before. Designs are equal when their normal forms are.
    """

    def __init__(self, tree: EvolutionTree) -> None:
        self._tree = tree
        self._holders: dict[str, str] = {}  # by design
        self._forms = {record.normal_form: record.id for record in tree}  # those in the making, too
        self._claimed_forms: dict[str, str] = {}  # by design

    def __contains__(self, design: str) -> bool:
        return design in self._holders

    @property
    def holders(self) -> Collection[str]:
        """Who has claimed something."""
        return self._holders.values()

    def holder(self, design: str) -> str:
        """Who works on a design; "" for nobody."""
        return self._holders.get(design, "")

    def take(self, design: str, holder: str) -> None:
        """Give a design of the books to a holder alone."""
        self._holders[design] = holder

    def claim(self, design: str, normal_form: str, holder: str) -> str:
        """Give a design that is new to the run to a holder alone; else the id of the one that it is a duplicate of."""
        same = self._forms.get(normal_form, design)
        if same != design or design in self._tree.records or self._holders.get(design, holder) != holder:
            return same
        self._holders[design] = holder
        self._forms[normal_form], self._claimed_forms[design] = design, normal_form
        return ""

    def proposed(self, design: str, normal_form: str) -> None:
        """Note that the books have a design: its form is taken for good."""
        self._forms.setdefault(normal_form, design)

    def forget(self, holder: str) -> None:
        """Free what a holder claimed; forms of designs that came into the books stay taken."""
        for design in [design for design, by in self._holders.items() if by == holder]:
            del self._holders[design]
            form = self._claimed_forms.pop(design, "")
            if design not in self._tree.records:
                self._forms.pop(form, None)
