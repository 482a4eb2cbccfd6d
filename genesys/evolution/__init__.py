"""The evolution's books and policies, and the statistics of a run. Standard library only.

Only `fitness`, `votes`, `winners`, `signal`, `listings` and `operators` know the domain.
"""

from genesys.evolution.design import DesignRecord, DesignState, DesignView, Lease, Run
from genesys.evolution.leaderboard import LeaderboardRow, leaderboard
from genesys.evolution.population import Population
from genesys.evolution.rating import Fitness, FitnessRule
from genesys.evolution.tree import EvolutionTree
from genesys.ladder.ledger import BookkeepingError

__all__ = [
    "BookkeepingError",
    "DesignRecord",
    "DesignState",
    "DesignView",
    "EvolutionTree",
    "Fitness",
    "FitnessRule",
    "LeaderboardRow",
    "Lease",
    "Population",
    "Run",
    "leaderboard",
]
