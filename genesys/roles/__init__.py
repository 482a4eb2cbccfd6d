"""One attempt at a design by language models: prompts, answers, and sessions as generators without I/O. Standard library only."""

from genesys.roles.brief import Attempt, Brief, SessionLimits, SessionOutcome
from genesys.roles.direct import direct
from genesys.roles.lessons import LessonsOutcome, lessons_session
from genesys.roles.session import design_session

__all__ = [
    "Attempt",
    "Brief",
    "LessonsOutcome",
    "SessionLimits",
    "SessionOutcome",
    "design_session",
    "direct",
    "lessons_session",
]
