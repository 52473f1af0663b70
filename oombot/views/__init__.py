"""What Slack shows: frozen contexts go through templates into validated messages and modals."""

from oombot.views.cards import Mode, Views
from oombot.views.contexts import Candidate, Evidence, Run
from oombot.views.escaping import environment
from oombot.views.validation import problems_of

__all__ = ["Candidate", "Evidence", "Mode", "Run", "Views", "environment", "problems_of"]
