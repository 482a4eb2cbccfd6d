"""What the scripted model answers: computed from the request, good and bad ones by a seed."""

from genesys.testing._answers.malformed import DEFECTS, spoil
from genesys.testing._answers.turns import Rates, answer
from genesys.testing._answers.units import Flaw, write_unit

__all__ = ["DEFECTS", "Flaw", "Rates", "answer", "spoil", "write_unit"]
